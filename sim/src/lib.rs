//! Orrery's deterministic simulation: the store as a system of the [`harness`].
//!
//! A [`scenario::Scenario`] decides everything of a run: the cluster, the clients' operations, the faults
//! and the network. [`swarm`] makes one from a seed, [`run`] runs it, [`check`] says which properties were
//! violated. The nodes are those of `kv`, unchanged; only their world is simulated.
//!
//! Built with `--cfg madsim` only: use `cargo sim`.

#[cfg(not(madsim))]
compile_error!(
    "the simulation is built with `--cfg madsim`: use `cargo sim` or `cargo verify` (a RUSTFLAGS \
     variable in the environment overrides what they pass)"
);

pub mod bench;
pub mod check;
pub mod cost;
pub mod disk;
pub mod evidence;
pub mod gates;
pub mod journal;
mod names;
mod narrator;
pub mod operator;
pub mod owners;
pub mod ports;
pub mod rings;
pub mod run;
mod says;
pub mod scenario;
pub mod shown;
pub mod store;
pub mod swarm;
pub mod trace;
pub mod watch;
mod words;
