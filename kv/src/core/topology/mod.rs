//! The state machine of the ring in one process: knows the newest ring, learns newer ones from
//! peers, publishes them to the shards, and has a part in deciding on the next one.

mod config;
mod newest;
mod paxos;
mod proposer;
mod reports;
mod state;
mod steps;
#[cfg(test)]
mod tests;
mod wants;

pub use self::{
    config::{TopologyConfig, TopologyInput},
    state::Topology,
};
