//! Deterministic simulation of a distributed system.
//!
//! TODO
#![forbid(unsafe_code)]

pub mod fault;
pub mod history;
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

/// What a test of a system needs.
pub mod prelude {
    pub use crate::{
        register::{self, Action, Protocol, Register},
        search::search,
        system::Io,
    };
}
