//! What every node of a run was given, what its clocks showed, and what it did: so that another engine
//! can say whether it should have.

use derive_where::derive_where;

use crate::system::{Effects, Input, System};

/// What a node was given.
#[derive_where(Clone, Debug)]
pub enum Given<S: System> {
    /// It starts, on what its journal kept.
    Start,
    /// It stops at once, and loses what is not durable.
    Crash,
    /// Anything else.
    Input(Input<S>),
}

/// A step of a run.
#[derive_where(Clone, Debug)]
pub struct RecordedStep<S: System> {
    /// The node.
    pub node: u32,
    /// Its wall clock, in microseconds since the Unix epoch.
    pub now_us: u64,
    /// Its monotonic clock, in microseconds since it started.
    pub uptime_us: u64,
    /// What it was given.
    pub given: Given<S>,
    /// What it did.
    pub effects: Effects<S>,
}
