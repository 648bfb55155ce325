//! Orrery's model checker: every order of events of a small cluster, around the very state machines
//! that serve.
//!
//! [`actor`] lets stateright run a [`kv::shard::Shard`]; no protocol logic is written twice.

pub mod actor;
pub mod put_get;
