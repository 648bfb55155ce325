//! Orrery: a leaderless, replicated key-value store with tunable consistency.
//!
//! The core ([`mod@core`]) is plain values and plain functions: it takes an input and
//! an environment ([`core::env`]), and knows no socket, file, task or date. A [`node`] puts the core behind
//! locks. The worlds that run it are production (the `server` feature), a seeded
//! simulation, lock interleavings and a model checker. `ARCHITECTURE.md` is the map.

#[cfg(feature = "server")]
#[allow(clippy::disallowed_types)]
pub mod cli;
pub mod core;
#[cfg(feature = "server")]
#[allow(clippy::disallowed_types)]
pub mod log;
pub mod node;
pub mod resp;
#[cfg(feature = "server")]
#[allow(clippy::disallowed_types)]
pub mod server;
pub mod wire;

#[cfg(all(test, loom))]
#[allow(clippy::disallowed_types)]
mod interleavings;
