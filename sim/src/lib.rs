//! Orrery's deterministic simulation.
//!
//! A [`scenario::Scenario`] decides everything of a run: the cluster, the clients' operations, the faults
//! and the network. [`swarm`] makes one from a seed, [`run`] runs it, [`check`] says which
//! promises were kept. The nodes are those of `kv`, unchanged; only their world is simulated.
//!
//! Built with `--cfg madsim` only: use `cargo sim`.

#[cfg(not(madsim))]
compile_error!(
    "the simulation is built with `--cfg madsim`: use `cargo sim` or `cargo verify` (a RUSTFLAGS \
     variable in the environment overrides what they pass)"
);

pub mod bench;
pub mod bugs;
pub mod check;
pub mod cluster;
pub mod cost;
pub mod history;
mod host;
pub mod log;
pub mod queue;
pub mod random;
pub mod report;
pub mod rings;
pub mod run;
pub mod scenario;
pub mod script;
pub mod story;
pub mod swarm;
pub mod sweep;
pub mod tally;
pub mod text;
pub mod trace;
pub mod world;
