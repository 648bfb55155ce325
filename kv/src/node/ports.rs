//! What a node is plugged into, and the names of its parts.

use std::{fmt, sync::Arc};

use super::{
    eras::{Era, Pause},
    outbox::Outbox,
};
use crate::core::{
    env::{Entry, Note, ShardTimer, TopologyTimer},
    ring::Ring,
    time::{Micros, Timestamp},
    types::Epoch,
};

/// A place in the journal: after that many entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

/// A timer of one of a node's machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alarm {
    /// Of a shard, by its number.
    Shard(u16, ShardTimer),
    /// Of the topology.
    Topology(TopologyTimer),
    /// Of the detector.
    Detector,
}

impl Alarm {
    /// What is due, and of which shard, unless it is the first.
    pub fn name(self) -> String {
        match self {
            Alarm::Shard(0, timer) => format!("{timer:?}"),
            Alarm::Shard(shard, timer) => format!("{timer:?} of shard {shard}"),
            Alarm::Topology(timer) => format!("{timer:?}"),
            Alarm::Detector => "Detect".into(),
        }
    }
}

/// Whose it is, and what is due.
impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Alarm::Shard(shard, timer) => write!(f, "Shard({shard}) {timer:?}"),
            Alarm::Topology(timer) => write!(f, "Topology {timer:?}"),
            Alarm::Detector => write!(f, "Detector {}", self.name()),
        }
    }
}

/// What a node is plugged into: the world's side of the traits in [`crate::core::env`].
pub trait Ports {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// The monotonic clock.
    fn uptime(&self) -> Micros;
    /// Arms a timer: [`super::Node::timer`] is to be called after this long, or later.
    fn set_timer(&self, alarm: Alarm, after: Micros);
    /// Appends to the commit buffer. Called under a machine's lock: no I/O.
    fn append(&self, entry: Entry) -> Position;
    /// Up to where the journal is durable. When it moves, [`super::Node::durable`] is to be called.
    fn durable(&self) -> Position;
    /// Counts something that seldom happens.
    fn note(&self, note: Note);
    /// Takes messages and replies out of the outbox, and sends them.
    fn send(&self, outbox: &mut Outbox);
    /// The node goes over to a ring: before anything that rests on it leaves, so that the way to a new
    /// member is there when the first message to it is.
    fn adopted(&self, _ring: &Arc<Ring>) {}
    /// The node stood still, and knows it: client connections of earlier eras are to be closed, for what lies
    /// in them is old.
    fn paused(&self, _pause: Pause) {}
    /// In this era, a majority said that the ring of this epoch is the newest: the node coordinates again.
    fn confirmed(&self, _era: Era, _epoch: Epoch) {}
}
