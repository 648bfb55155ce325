//! What a node is plugged into, and the names of its parts.

use std::sync::Arc;

use super::{
    eras::{Era, Pause},
    outbox::Outbox,
};
use crate::core::{
    env::{Entry, Note, Timer},
    ring::Ring,
    time::{Micros, Timestamp},
    types::Epoch,
};

/// A place in the journal: after that many entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

/// One of a node's machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Machine {
    /// A shard, by its number.
    Shard(u16),
    /// The topology.
    Topology,
    /// The detector.
    Detector,
}

/// What a node is plugged into: the world's side of the traits in [`crate::core::env`].
pub trait Ports {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// The monotonic clock.
    fn uptime(&self) -> Micros;
    /// Arms a timer: [`super::Node::timer`] is to be called after this long, or later.
    fn set_timer(&self, machine: Machine, timer: Timer, after: Micros);
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
