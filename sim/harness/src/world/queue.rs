//! What is to come in a simulation, in the order of time.

use std::{cmp::Reverse, collections::BinaryHeap};

use derive_where::derive_where;

use crate::system::System;

/// What a run is woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A client goes on.
    Client(usize),
    /// A client stops waiting for an operation.
    GiveUp(usize),
    /// A fault begins.
    FaultBegins(usize),
    /// A fault ends.
    FaultEnds(usize),
    /// A flapping partition turns on or off.
    Flap(usize, bool),
    /// A process starts in the place of one that ended by itself.
    Restart(u32),
    /// The operators look.
    Operator,
    /// The next step of the script.
    Script(usize),
    /// The phase is looked at.
    Phase,
}

/// Something that comes.
pub(crate) enum Due<S: System> {
    /// A message, by its number.
    Arrive {
        to: u32,
        from: u32,
        id: u64,
        message: S::Message,
    },
    Ask {
        to: u32,
        ticket: u64,
        ask: S::Ask,
    },
    /// Timers and syncs of a node's earlier starts are void.
    Timer {
        node: u32,
        starts: u32,
        timer: S::Timer,
    },
    Synced {
        node: u32,
        starts: u32,
    },
    /// Nothing came to a node's own journal since it had so many entries.
    Rested {
        node: u32,
        starts: u32,
        entries: usize,
    },
    Change {
        node: u32,
        change: S::Change,
    },
    Wake(Wake),
}

/// Something that comes, with its time. Equal times are in the order in which they were queued.
#[derive_where(PartialEq, Eq, PartialOrd, Ord)]
struct Queued<S: System> {
    at: u64,
    order: u64,
    #[derive_where(skip)]
    due: Due<S>,
}

/// What is to come.
pub(crate) struct Queue<S: System> {
    order: u64,
    heap: BinaryHeap<Reverse<Queued<S>>>,
}

impl<S: System> Default for Queue<S> {
    fn default() -> Self {
        Self { order: 0, heap: BinaryHeap::new() }
    }
}

impl<S: System> Queue<S> {
    pub(crate) fn push(&mut self, at: u64, due: Due<S>) {
        self.order += 1;
        self.heap.push(Reverse(Queued { at, order: self.order, due }));
    }

    /// When the next thing comes, in microseconds of the run.
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(queued)| queued.at)
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, Due<S>)> {
        self.heap.pop().map(|Reverse(Queued { at, due, .. })| (at, due))
    }
}
