//! What a node knows and decides, as plain values and plain functions: inputs go in, effects come out by an
//! environment ([`mod@env`]). Nothing here names anything outside, does I/O, waits, or takes a lock.

pub mod clock;
pub mod detector;
pub mod env;
pub mod exact;
pub mod message;
#[cfg(test)]
pub(crate) mod properties;
pub mod quorum;
pub mod record;
pub mod ring;
pub mod seen;
pub mod shard;
pub mod store;
pub mod time;
pub mod topology;
pub mod types;
