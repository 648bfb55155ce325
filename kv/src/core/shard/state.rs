//! The state of a shard.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    config::ShardConfig,
    gives::Gives,
    passes::Comparisons,
    pulls::Pulls,
    requests::{Get, Put},
};
use crate::core::{
    clock::{ClockGuard, HybridClock},
    env::{Env, ShardTimer},
    message::{Body, Message, ShardBody, SlotsRequest},
    record::{Record, Version},
    ring::Ring,
    store::Store,
    time::{Micros, Timestamp},
    types::{Epoch, Incarnation, Key, NodeId, OpId, Slot},
};

/// A request under way on its coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pending {
    Put(Put),
    Get(Get),
}

/// The requests that a timer's next firing is about: those that were under way when it was armed.
///
/// A timer per request would be a million live timers. A deadline per request would be a clock
/// reading to compare with. This is neither: a request is swept between one and two periods after it
/// began.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Generation {
    pub(super) timer: ShardTimer,
    /// Armed, and then about the operations before this one.
    pub(super) before: Option<OpId>,
}

impl Generation {
    pub(super) fn new(timer: ShardTimer) -> Self {
        Self { timer, before: None }
    }

    /// An operation began.
    pub(super) fn began(&mut self, op: OpId, period: Micros, env: &mut impl Env) {
        if self.before.is_none() {
            self.before = Some(op.next());
            env.set_timer(self.timer, period);
        }
    }

    /// The timer fired: tells the generation to sweep. Call [`Generation::rearm`] after the sweep.
    pub(super) fn fired(&mut self) -> Option<OpId> {
        self.before.take()
    }

    /// After a sweep: the next generation is all that is under way now.
    pub(super) fn rearm(&mut self, next: OpId, is_idle: bool, period: Micros, env: &mut impl Env) {
        if !is_idle {
            self.before = Some(next);
            env.set_timer(self.timer, period);
        }
    }
}

/// The state machine of a subset of slots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    pub(super) config: ShardConfig,
    pub(super) ring: Arc<Ring>,
    pub(super) incarnation: Incarnation,
    pub(super) store: Store,
    pub(super) clock: HybridClock,
    pub(super) guard: ClockGuard,
    /// Smoothed round trip to the peers, in microseconds. Zero: not measured.
    pub(super) round_trip: u64,
    pub(super) next_op: OpId,
    pub(super) pending: BTreeMap<OpId, Pending>,
    pub(super) hedge: Generation,
    pub(super) timeout: Generation,
    pub(super) sync: Comparisons,
    /// Counts ticks, so that each is about other peers.
    pub(super) probe_round: usize,
    /// What this ring asks of the shard: slots to pull, and slots to hand over.
    pub(super) pulls: Pulls,
    pub(super) gives: Gives,
    /// The timer for both is armed.
    pub(super) moves: bool,
    /// The topology was told that all of it is done.
    pub(super) told: bool,
}

impl Shard {
    /// A shard that goes on where its journal ended: at the floor of its clock, as the next
    /// incarnation. Records follow by [`Shard::restore`], then [`Shard::start`].
    pub fn new(
        config: ShardConfig,
        ring: Arc<Ring>,
        floor: Timestamp,
        incarnation: Incarnation,
    ) -> Self {
        Self {
            incarnation,
            store: Store::new(config.seed),
            clock: HybridClock::recovered(floor),
            guard: ClockGuard::new(config.max_clock_drift),
            round_trip: 0,
            next_op: OpId::first_of(config.shard, incarnation),
            pending: BTreeMap::new(),
            hedge: Generation::new(ShardTimer::Hedge),
            timeout: Generation::new(ShardTimer::Timeout),
            sync: Comparisons::default(),
            probe_round: 0,
            pulls: Pulls::default(),
            gives: Gives::default(),
            moves: false,
            told: false,
            config,
            ring,
        }
    }

    /// Puts back a record that the journal holds.
    pub fn restore(&mut self, key: &Key, record: &Record) {
        let slot = self.ring.slot_of(key.as_str());
        self.store.merge(slot, key.as_str(), record);
    }

    /// Keeps an operation until it is answered, hedged or given up.
    pub(super) fn keep(&mut self, op: OpId, pending: Pending, env: &mut impl Env) {
        self.pending.insert(op, pending);
        let hedge_after = self.hedge_after();
        self.hedge.began(op, hedge_after, env);
        self.timeout.began(op, self.config.request_timeout, env);
    }

    pub(super) fn issue_op(&mut self) -> OpId {
        let op = self.next_op;
        self.next_op = op.next();
        op
    }

    /// When owners are late: four round trips, within a tenth and ten times of the default.
    pub(super) fn hedge_after(&self) -> Micros {
        let default = self.config.hedge_after.0;
        match self.round_trip {
            0 => Micros(default),
            measured => Micros((4 * measured).clamp(default / 10, 10 * default)),
        }
    }

    pub(super) fn send(&self, to: NodeId, body: impl Into<Body>, env: &mut impl Env) {
        env.send(to, Message { epoch: self.ring.epoch(), body: body.into() });
    }

    /// Asks all shards of a peer about many slots.
    pub(super) fn ask_slots(&self, to: NodeId, request: SlotsRequest, env: &mut impl Env) {
        self.send(to, ShardBody::SlotsRequest { shard: self.config.shard, request }, env);
    }

    /// The epoch that this shard answers at.
    pub fn epoch(&self) -> Epoch {
        self.ring.epoch()
    }

    /// The record that this replica holds.
    pub fn record(&self, key: &str) -> Option<Record> {
        self.store.get(key)
    }

    /// The version that this replica holds.
    pub fn version(&self, key: &str) -> Option<Version> {
        self.store.version(key)
    }

    /// All that this replica holds, ascending by key.
    pub fn records(&self) -> Vec<(Key, Record)> {
        self.store.records()
    }

    /// The next few records of a slot behind a key, ascending by key; and whether they are the last.
    pub fn page(&self, slot: Slot, after: Option<&Key>, most: usize) -> (Vec<(Key, Record)>, bool) {
        self.store.page(slot, after, most)
    }

    /// The slots with records, and their digests.
    pub fn digests(&self) -> Vec<(Slot, u64)> {
        self.store.digests()
    }

    /// Records here: all, and those that are not tombstones.
    pub fn counts(&self) -> (usize, usize) {
        (self.store.len(), self.store.live())
    }

    /// Whether an answer to this operation is awaited, or may be later: it is under way, or did not begin.
    pub fn may_await(&self, op: OpId) -> bool {
        self.pending.contains_key(&op) || op >= self.next_op
    }

    /// Whether this replica's clock is past a timestamp.
    pub fn has_seen(&self, timestamp: Timestamp) -> bool {
        self.clock.has_seen(timestamp)
    }

    /// Slots that this shard has still to pull, and slots that it has still to hand over.
    pub fn moving(&self) -> (usize, usize) {
        (self.pulls.len(), self.gives.len())
    }

    /// Whether others have all that they are to have of this shard; it may still be forgetting that.
    pub fn has_handed_over(&self) -> bool {
        self.gives.is_handed_over()
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// Panics when something that must always hold does not. Looks at the key that a step was
    /// about, or at everything.
    pub fn check_invariants(&self, touched: Option<&Key>) {
        assert!(self.pending.len() <= self.config.max_in_flight, "more in flight than allowed");
        if let Some((last, _)) = self.pending.last_key_value() {
            assert!(*last < self.next_op, "an operation from the future");
            assert!(self.timeout.before.is_some(), "a request that nothing will time out");
            assert!(self.hedge.before.is_some(), "a request that nothing will hedge");
        }
        match touched {
            Some(key) => self.store.check_slot(self.ring.slot_of(key.as_str())),
            None => self.store.check(),
        }
        if let Some(version) = touched.and_then(|key| self.version(key.as_str())) {
            assert!(self.clock.has_seen(version.timestamp), "the clock is behind a stored version");
        }
    }
}
