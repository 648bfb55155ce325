//! Deterministic simulation of a distributed system: seeded faults, checks, stories and replays.
//!
//! One queue of events moves a whole cluster on, in one thread. A seed decides which messages are lost, doubled
//! and held back, which nodes crash and stand still, how their clocks lie, and what clients ask; so a run that
//! fails can be run again, byte for byte. What is tested is the program itself: it is given one input at a
//! time, and has effects through its [`system::Io`] alone.
//!
//! # What is tested, and by what
//!
//! - [`system::System`]: what a node is; its messages, timers and journal; what clients ask and are told.
//! - [`watch::Watch`]: looks at each step, and says at once what it violates.
//! - [`operator::Operator`]: asks nodes for changes, starts more of them, and says what is unsettled.
//! - [`property::Property`]: judges a run that is over, from plain evidence.
//! - [`story::narrator::Narrator`]: the system's own words in the story of a run.
//! - [`journal::OwnJournal`]: a journal that its nodes bring along, on a simulated disk, if they do.
//!
//! Everything else is here: the [`fault`]s, the [`world`] with its network, clocks and disks, a [`disk`] of
//! bytes that tears and rots, the phases of a [`run`], its [`history`] and [`log`], [`scenario`]s and their
//! text, scripts that leave nothing to chance, a [`sweep`] over many seeds, and the [`tally`], whose gates fail
//! a sweep in which something never happened.
//!
//! # An example
//!
//! A register that a majority of nodes keeps, with a mistake. `cargo run -p harness --example register` finds
//! it:
//!
//! ```no_run
#![doc = include_str!("../examples/register.rs")]
//! ```
//!
//! `examples/lock.rs` is a [`system::System`] with all that one has to say: clients that remember, a journal, a
//! property of its own.
//!
//! # Phases
//!
//! A run has a load under faults. Then all faults are healed: messages arrive again, though links stay as slow
//! as they were. The cluster has to converge within the scenario's time (the operators say when it has), and
//! then each node has to serve. What a run violates is told with the seed, a story, and the command that
//! replays it.

pub mod disk;
pub mod fault;
pub mod history;
pub mod journal;
pub mod log;
pub mod operator;
pub mod order;
pub mod panics;
pub mod property;
pub mod random;
pub mod register;
pub mod report;
pub mod run;
pub mod scenario;
pub mod search;
pub mod story;
pub mod swarm;
pub mod sweep;
pub mod system;
pub mod tally;
pub mod text;
pub mod trace;
pub mod violation;
pub mod watch;
pub mod world;

/// What a test of a register needs.
pub mod prelude {
    pub use crate::{
        register::{self, Action, Protocol, Register},
        search::search,
        system::Io,
    };
}
