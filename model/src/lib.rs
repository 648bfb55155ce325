//! Orrery's model checker: every order of events of a small cluster, around the very state machines
//! that serve.
//!
//! [`actor`] lets stateright run a [`kv::shard::Shard`] with its [`kv::topology::Topology`]; no protocol
//! logic is written twice. [`world`] says what may happen, and each model has a file of its own.

pub mod actor;
pub mod convergence;
pub mod paxos;
pub mod put_get;
pub mod quorum;
pub mod register;
pub mod replay;
pub mod report;
pub mod restart;
pub mod ring_change;
pub mod session;
pub mod trace;
pub mod world;

use kv::quorum::Level;

/// All models, smallest first.
pub fn all() -> Vec<world::Cluster> {
    vec![
        put_get::model(Level::Quorum),
        paxos::joint(),
        session::model(),
        ring_change::shrunk(),
        paxos::model(),
        ring_change::dead(),
        restart::model(),
        ring_change::crash(),
        ring_change::replaced(),
        quorum::model(),
        ring_change::stale(),
        convergence::model(),
        ring_change::register(),
        ring_change::again(),
        register::model(),
        register::lossy(),
    ]
}
