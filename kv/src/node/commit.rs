//! Group commit: machines append under their locks, and one thread writes and syncs for all of them.
//!
//! What is appended while a sync is under way waits for the next one, so that the target of a sync is chosen as late as
//! can be: when the disk is free. There is no timer, and nobody waits for more to come.

use std::time::Duration;

use super::{
    locks::{
        Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    ports::Position,
};
use crate::{core::env::Entry, journal::format::Pending};

/// What waits for the disk, between the machines that append and the thread that writes.
#[derive(Debug, Default)]
pub struct Commit {
    shared: Mutex<Shared>,
    wake: Condvar,
    /// After how many entries all is safe. It moves after the sync, and before anybody is told.
    durable: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Pending,
    /// How many entries there ever were.
    appended: u64,
    /// Whether the writer waits to be woken.
    is_idle: bool,
    is_closed: bool,
}

/// What the writer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Entries, up to this one.
    Upto(Position),
    /// Nothing came for as long as it waited.
    Nothing,
    /// Nothing will come any more.
    Closed,
}

impl Commit {
    /// Appends an entry. No I/O, and no wait but for others that append.
    pub fn append(&self, entry: &Entry) -> Position {
        let mut shared = self.shared.lock();
        shared.pending.push(entry);
        shared.appended += 1;
        let position = Position(shared.appended);
        let wakes = std::mem::take(&mut shared.is_idle);
        drop(shared);
        if wakes {
            self.wake.notify_one();
        }
        position
    }

    /// Up to where all is safe.
    pub fn durable(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    /// For the writer: moves all that waits into `into`, which is empty. Waits for it, for so long at most; for ever
    /// where nothing is said.
    pub fn take(&self, into: &mut Pending, most: Option<Duration>) -> Taken {
        let mut shared = self.shared.lock();
        let mut may_wait = true;
        while shared.pending.is_empty() {
            if shared.is_closed {
                return Taken::Closed;
            }
            if !may_wait {
                shared.is_idle = false;
                return Taken::Nothing;
            }
            shared.is_idle = true;
            shared = match most {
                Some(most) => self.wake.wait_for(shared, most),
                None => self.wake.wait(shared),
            };
            // Woken for no reason: the writer comes again.
            may_wait = most.is_none();
        }
        shared.is_idle = false;
        std::mem::swap(&mut shared.pending, into);
        Taken::Upto(Position(shared.appended))
    }

    /// For the writer: all up to here is safe. Whoever holds effects back is to be told after this.
    pub fn synced(&self, upto: Position) {
        self.durable.store(upto.0, Ordering::Release);
    }

    /// Nothing will be appended any more: the writer ends when it has written what waits.
    pub fn close(&self) {
        let mut shared = self.shared.lock();
        shared.is_closed = true;
        drop(shared);
        self.wake.notify_one();
    }
}
