//! The state machine of a fixed subset of slots in one process: it coordinates clients' requests,
//! holds replicas, and repairs them.

mod behind;
mod clocks;
mod config;
mod get;
mod give;
mod gives;
mod passes;
mod pull;
mod pulls;
mod put;
mod replica;
mod requests;
mod state;
mod steps;
mod sync;

#[cfg(test)]
mod tests;

pub(crate) use self::passes::may_share;
pub use self::{
    behind::Behind,
    config::{Input, ShardConfig},
    pulls::SILENT_ROUNDS,
    state::Shard,
};
