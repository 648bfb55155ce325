//! The clock that issues hybrid logical timestamps, and the guard that keeps a broken wall clock from
//! poisoning keys.
//!
//! Source: Kulkarni et al., "Logical Physical Clocks" (2014). The logical part sits in the low bits
//! of the number here, so that "a little later" is plain addition.

use std::collections::BTreeMap;

use crate::core::{
    env::{Entry, Env},
    time::{ClockDoubt, Micros, Timestamp},
    types::NodeId,
};

/// Issues timestamps that only grow: past the wall clock, past all that were issued or observed, and
/// past the floor that a former incarnation left in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HybridClock {
    last: Timestamp,
    /// Every timestamp issued or observed is below this, and this is in the journal.
    floor: Timestamp,
    /// Where the clock started.
    start: Timestamp,
}

impl HybridClock {
    /// How far ahead of need the floor is persisted: ten journal entries a second under load.
    pub const FLOOR_STEP: Micros = Micros(100_000);

    /// A clock that starts at the floor that the journal holds, or at zero.
    pub fn recovered(floor: Timestamp) -> Self {
        Self { last: floor, floor, start: floor }
    }

    /// A timestamp greater than all before it.
    pub fn issue(&mut self, env: &mut impl Env) -> Timestamp {
        self.advance(env.now().max(self.last.successor()), env);
        self.last
    }

    /// The next timestamp after all before it, whatever the wall clock says.
    pub fn issue_next(&mut self, env: &mut impl Env) -> Timestamp {
        self.advance(self.last.successor(), env);
        self.last
    }

    /// Takes note of a timestamp that came from elsewhere: what is issued later is greater.
    pub fn observe(&mut self, seen: Timestamp, env: &mut impl Env) {
        if seen > self.last {
            self.advance(seen, env);
        }
    }

    /// How far ahead of the wall clock this clock started: a clock that starts at its floor starts up
    /// to [`HybridClock::FLOOR_STEP`] ahead, and further if it is started again and again.
    pub fn started_ahead_by(&self, now: Timestamp) -> Micros {
        Micros(self.start.micros().saturating_sub(now.micros()))
    }

    /// Whether a timestamp is not later than all that were issued or observed.
    pub fn has_seen(&self, timestamp: Timestamp) -> bool {
        timestamp <= self.last
    }

    fn advance(&mut self, to: Timestamp, env: &mut impl Env) {
        self.last = to;
        if to >= self.floor {
            self.floor = to.plus(Self::FLOOR_STEP);
            env.persist(Entry::ClockFloor(self.floor));
        }
    }
}

/// The clock's judge: compares the wall clock with the peers' and with the monotonic clock.
///
/// A node may coordinate writes while its offset from the median of the measured clocks is at most
/// half of `max_drift`, its wall clock did not jump against its monotonic clock since it was
/// measured, and its hybrid clock did not start too far ahead of it. The other half of the bound covers
/// what this leaves open, an eighth each: the round trip, a jump that is not noticed, the peers' own
/// error, and the start. So no version is further ahead of true time than `max_drift`, as long as one
/// clock at most of those that a node measures is off by more than an eighth of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClockGuard {
    max_drift: Micros,
    /// Wall clock less monotonic clock when the offsets were measured.
    base: Option<i64>,
    /// Peer's clock less ours, in microseconds.
    offsets: BTreeMap<NodeId, i64>,
}

impl ClockGuard {
    /// A guard that has measured nothing yet. A `max_drift` of zero turns it off.
    pub fn new(max_drift: Micros) -> Self {
        Self { max_drift, base: None, offsets: BTreeMap::new() }
    }

    /// Whether this guard measures at all.
    pub fn is_on(&self) -> bool {
        self.max_drift.0 > 0
    }

    fn eighth(&self) -> i64 {
        signed(self.max_drift.0) / 8
    }

    /// Wall clock less monotonic clock: constant but for jumps and drift.
    fn base_now(env: &impl Env) -> i64 {
        signed(env.now().micros()).wrapping_sub(signed(env.uptime().0))
    }

    /// Forgets all measurements when the wall clock jumped since. True: measure again.
    pub fn check_for_jump(&mut self, env: &impl Env) -> bool {
        let base = Self::base_now(env);
        let jumped = self.base.is_none_or(|was| was.abs_diff(base) > self.eighth().unsigned_abs());
        if self.is_on() && jumped {
            self.base = Some(base);
            self.offsets.clear();
        }
        self.is_on() && jumped
    }

    /// A peer answered, `sent` by our monotonic clock being when we asked.
    pub fn measured(&mut self, peer: NodeId, sent: Micros, its: Timestamp, env: &impl Env) {
        let round_trip = env.uptime().0.saturating_sub(sent.0);
        if !self.is_on() || round_trip > self.max_drift.0 / 4 || self.check_for_jump(env) {
            return;
        }
        let ours = signed(env.now().micros()) - signed(round_trip / 2);
        self.offsets.insert(peer, signed(its.micros()) - ours);
    }

    /// Whether writes may be coordinated with these many other members and this hybrid clock; else why not.
    pub fn judge(
        &self,
        peers: usize,
        clock: &HybridClock,
        env: &impl Env,
    ) -> Result<(), ClockDoubt> {
        if !self.is_on() {
            return Ok(());
        }
        let ahead = clock.started_ahead_by(env.now());
        if ahead.0 > self.max_drift.0 / 8 {
            return Err(ClockDoubt::StartedAhead(ahead));
        }
        if peers == 0 {
            return Ok(());
        }
        if !self.has_measured(peers) {
            return Err(ClockDoubt::NotCompared);
        }
        let (ahead_us, most) = (self.ahead_us(), self.most());
        match ahead_us.unsigned_abs() <= most.0 {
            true => Ok(()),
            false => Err(ClockDoubt::Off { ahead_us, most }),
        }
    }

    /// Whether a record that somebody else issued may be stored: not if it is further ahead of this clock than
    /// clocks may be.
    pub fn judge_record(&self, issued: Timestamp, env: &impl Env) -> Result<(), ClockDoubt> {
        let ahead = Micros(issued.micros().saturating_sub(env.now().micros()));
        match self.is_on() && ahead > self.most() {
            true => Err(ClockDoubt::RecordAhead(ahead)),
            false => Ok(()),
        }
    }

    /// How far from the median a clock may be, so that writes are coordinated by it.
    pub fn most(&self) -> Micros {
        Micros(4 * self.eighth().unsigned_abs())
    }

    /// How far ahead of the median of the clocks that were measured, its own among them, this node's
    /// clock is, in microseconds.
    pub fn ahead_us(&self) -> i64 {
        let mut clocks: Vec<i64> = self.offsets.values().copied().chain([0]).collect();
        clocks.sort_unstable();
        // The lower median: of two clocks, the one that is ahead is suspected.
        -clocks[(clocks.len() - 1) / 2]
    }

    /// The clocks that were measured: how far ahead of this node's each is, in microseconds.
    pub fn offsets(&self) -> &BTreeMap<NodeId, i64> {
        &self.offsets
    }

    /// Whether the clocks of enough of these many other members were measured: with more than half of a
    /// small ring, our own clock among them, the median is that of a clock of the sane majority.
    pub fn has_measured(&self, peers: usize) -> bool {
        let enough = if peers == 0 { 1 } else { (peers.div_ceil(2) + 1).min(Self::ENOUGH) };
        !self.is_on() || self.offsets.len() + 1 >= enough
    }

    /// In large rings this many clocks decide, the own one included.
    const ENOUGH: usize = 7;

    /// Drops what was measured of nodes that left.
    pub fn retain(&mut self, is_member: impl Fn(NodeId) -> bool) {
        self.offsets.retain(|node, _| is_member(*node));
    }
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::env::{
        Clients, Clock, Journal, Network, Note, Progress, Reply, ShardTimer, Timers, Trace,
    };
    use crate::core::{
        message::Message,
        types::{Epoch, RequestId},
    };

    /// Two clocks, and what was persisted.
    #[derive(Default)]
    struct Watch {
        wall: u64,
        uptime: u64,
        floors: Vec<Timestamp>,
    }

    impl Watch {
        fn pass(&mut self, micros: u64) {
            self.wall += micros;
            self.uptime += micros;
        }
    }

    impl Clock for Watch {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.wall)
        }

        fn uptime(&self) -> Micros {
            Micros(self.uptime)
        }
    }

    impl Timers<ShardTimer> for Watch {
        fn set_timer(&mut self, _timer: ShardTimer, _after: Micros) {}
    }

    impl Network for Watch {
        fn send(&mut self, _to: NodeId, _message: Message) {}
    }

    impl Journal for Watch {
        fn persist(&mut self, entry: Entry) {
            if let Entry::ClockFloor(floor) = entry {
                self.floors.push(floor);
            }
        }
    }

    impl Clients for Watch {
        fn reply(&mut self, _request: RequestId, _reply: Reply) {}
    }

    impl Trace for Watch {
        fn note(&mut self, _note: Note) {}
    }

    impl Progress for Watch {
        fn synced(&mut self, _epoch: Epoch) {}
    }

    #[test]
    fn timestamps_grow_when_the_wall_clock_stands_still_or_runs_back() {
        let mut watch = Watch { wall: 1_000, ..Watch::default() };
        let mut clock = HybridClock::recovered(Timestamp(0));
        let first = clock.issue(&mut watch);
        let second = clock.issue(&mut watch);
        watch.wall = 10;
        let third = clock.issue(&mut watch);
        assert!(first < second && second < third);
        clock.observe(Timestamp::from_micros(5_000), &mut watch);
        assert!(clock.issue(&mut watch) > Timestamp::from_micros(5_000));
    }

    #[test]
    fn every_timestamp_is_below_a_persisted_floor_and_a_restart_begins_above_all() {
        let mut watch = Watch { wall: 1_000, ..Watch::default() };
        let mut clock = HybridClock::recovered(Timestamp(0));
        for _ in 0..1_000 {
            watch.pass(7_919);
            let issued = clock.issue(&mut watch);
            assert!(issued < *watch.floors.last().unwrap());
        }
        assert!(watch.floors.len() < 100, "{} floors", watch.floors.len());
        let last = clock.issue(&mut watch);
        let mut again = HybridClock::recovered(*watch.floors.last().unwrap());
        watch.wall = 0;
        assert!(again.issue(&mut watch) > last);
    }

    const DRIFT: Micros = Micros(800_000);

    /// A guard that measured these clocks, in microseconds ahead of its own.
    fn guard(watch: &Watch, clocks: &[i64]) -> ClockGuard {
        let mut guard = ClockGuard::new(DRIFT);
        guard.check_for_jump(watch);
        for (peer, ahead) in (1..).zip(clocks) {
            let theirs = watch.wall.checked_add_signed(*ahead).unwrap();
            let sent = watch.uptime();
            guard.measured(NodeId(peer), sent, Timestamp::from_micros(theirs), watch);
        }
        guard
    }

    #[test]
    fn a_clock_that_most_others_contradict_may_not_coordinate_writes() {
        let watch = Watch { wall: 10_000_000, ..Watch::default() };
        let clock = HybridClock::recovered(Timestamp(0));
        let allows =
            |clocks: &[i64], peers| guard(&watch, clocks).judge(peers, &clock, &watch).is_ok();
        assert!(allows(&[0, 0], 2));
        assert!(allows(&[5_000_000, 0], 2), "one other clock is wrong");
        assert!(!allows(&[-5_000_000, -5_000_000], 2), "this clock is ahead");
        assert!(!allows(&[5_000_000, 5_000_000], 2), "this clock is behind");
        assert!(!allows(&[-5_000_000], 1), "of two, the one that is ahead is suspected");
        assert!(allows(&[5_000_000], 1));
        assert!(!allows(&[], 2), "nothing was measured");
        assert!(!allows(&[0], 4), "too few were measured");
        assert!(allows(&[], 0), "nobody is there to be asked");
    }

    #[test]
    fn who_is_refused_is_told_how_far_the_clock_is_off() {
        let watch = Watch { wall: 10_000_000_000, ..Watch::default() };
        let clock = HybridClock::recovered(Timestamp(0));
        let why = |clocks: &[i64]| {
            guard(&watch, clocks).judge(2, &clock, &watch).unwrap_err().to_string()
        };
        let ahead = why(&[-3_600_000_000, -3_600_000_000]);
        assert!(
            ahead.contains("off by 3600.0 s, ahead of its peers' (more than 0.4 s)"),
            "{ahead}"
        );
        let behind = why(&[5_012_345, 5_012_345]);
        assert!(behind.contains("off by 5.012 s, behind its peers'"), "{behind}");
        assert!(why(&[]).contains("not compared"), "{}", why(&[]));
    }

    #[test]
    fn a_jump_of_the_wall_clock_voids_what_was_measured_and_a_pause_does_not() {
        let mut watch = Watch { wall: 10_000_000, ..Watch::default() };
        let clock = HybridClock::recovered(Timestamp(0));
        let mut guard = guard(&watch, &[0, 0]);
        watch.pass(60_000_000);
        assert!(!guard.check_for_jump(&watch));
        watch.wall += 5_000_000;
        assert!(guard.check_for_jump(&watch));
        assert_eq!(guard.judge(2, &clock, &watch), Err(ClockDoubt::NotCompared));
    }

    #[test]
    fn a_measurement_that_took_too_long_says_nothing() {
        let mut watch = Watch { wall: 10_000_000, ..Watch::default() };
        let mut guard = guard(&watch, &[]);
        let sent = watch.uptime();
        watch.pass(DRIFT.0 / 4 + 1);
        guard.measured(NodeId(1), sent, watch.now(), &watch);
        assert!(!guard.has_measured(1));
    }

    #[test]
    fn a_clock_that_starts_far_ahead_waits() {
        let mut watch = Watch { wall: 10_000_000, ..Watch::default() };
        let clock = HybridClock::recovered(Timestamp::from_micros(10_500_000));
        let guard = ClockGuard::new(DRIFT);
        let ahead = ClockDoubt::StartedAhead(Micros(500_000));
        assert_eq!(guard.judge(0, &clock, &watch), Err(ahead));
        watch.pass(400_000);
        assert_eq!(guard.judge(0, &clock, &watch), Ok(()));
    }
}
