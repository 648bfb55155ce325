//! Orrery: a leaderless, replicated key-value store with tunable consistency.
//!
//! The core ([`shard`], [`topology`]) is plain values and plain functions: it takes an input and
//! an environment ([`mod@env`]), and knows no socket, file, task or date. A [`node`] puts the core behind
//! locks. The worlds that run it are production (the `server` feature), a seeded
//! simulation, lock interleavings and a model checker. `ARCHITECTURE.md` is the map.

#[cfg(feature = "server")]
#[allow(clippy::disallowed_types)]
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod detector;
pub mod env;
pub mod exact;
pub mod locks;
#[cfg(feature = "server")]
#[allow(clippy::disallowed_types)]
pub mod log;
pub mod message;
pub mod node;
#[cfg(test)]
mod properties;
pub mod pulse;
pub mod queue;
pub mod quorum;
pub mod record;
pub mod recover;
pub mod resp;
pub mod ring;
pub mod seen;
#[cfg(feature = "server")]
#[allow(clippy::disallowed_types)]
pub mod server;
pub mod shard;
pub mod store;
pub mod topology;
pub mod types;
pub mod wire;

#[cfg(all(test, loom))]
#[allow(clippy::disallowed_types)]
mod interleavings;
