//! Orrery's model checker: every order of events of a small cluster, around the very state machines
//! that serve.
//!
//! [`actor`] lets stateright run a [`kv::core::shard::Shard`] with its [`kv::core::topology::Topology`]; no protocol
//! logic is written twice. [`world`] says what may happen, and each model has a file of its own.

pub mod actor;
pub mod convergence;
pub mod path;
pub mod paxos;
pub mod put_get;
pub mod quorum;
pub mod register;
pub mod replay;
pub mod report;
pub mod restart;
pub mod ring_change;
pub mod session;
pub mod shortest;
pub mod trace;
pub mod world;

use kv::core::quorum::Level;

/// All models: first those on one ring, whose paths the simulation can take too.
pub fn all() -> Vec<world::ClusterModel> {
    vec![
        put_get::model(Level::Quorum),
        session::model(),
        restart::model(),
        quorum::again(),
        quorum::model(),
        convergence::model(),
        register::model(),
        register::lossy(),
        paxos::joint(),
        paxos::model(),
        ring_change::shrunk(),
        ring_change::dead(),
        ring_change::later(),
        ring_change::crash(),
        ring_change::cancelled(),
        ring_change::left(),
        ring_change::replaced(),
        ring_change::stale(),
        ring_change::register(),
        ring_change::again(),
    ]
}
