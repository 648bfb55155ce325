//! A node's clocks.
//!
//! The wall clock starts off by an offset, drifts, and jumps forwards and backwards. The monotonic clock
//! only drifts.

use serde::{Deserialize, Serialize};

/// True time at the start of a run, in microseconds since the Unix epoch. It is large enough for clocks
/// that are years behind.
pub const START_US: u64 = 1_700_000_000_000_000;

/// How a node's clocks differ from true time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockSpec {
    /// How far ahead of true time the wall clock starts, in microseconds.
    pub offset_us: i64,
    /// How much faster than true time it runs, in millionths.
    pub drift_ppm: i64,
    /// How coarse it is: it shows multiples of this many microseconds.
    pub tick_us: u64,
}

impl Default for ClockSpec {
    /// A true clock.
    fn default() -> Self {
        Self { offset_us: 0, drift_ppm: 0, tick_us: 1 }
    }
}

/// A node's clocks. All moments are microseconds of the run.
#[derive(Clone, Copy, Debug)]
pub struct NodeClock {
    spec: ClockSpec,
    jumped_us: i64,
    booted: u64,
}

impl NodeClock {
    /// The clocks of a node that starts at the beginning of the run.
    pub fn new(spec: ClockSpec) -> Self {
        Self { spec, jumped_us: 0, booted: 0 }
    }

    /// The node starts (again).
    pub fn boot(&mut self, at: u64) {
        self.booted = at;
    }

    /// The wall clock jumps.
    pub fn jump(&mut self, by_us: i64) {
        self.jumped_us += by_us;
    }

    /// What the wall clock shows at a moment of true time, in microseconds since the Unix epoch.
    pub fn wall_us(&self, at: u64) -> u64 {
        let shown = signed(START_US + self.drifted(at)) + self.spec.offset_us + self.jumped_us;
        let shown = shown.max(1).unsigned_abs();
        shown - shown % self.spec.tick_us
    }

    /// What the monotonic clock shows, in microseconds since the node started.
    pub fn uptime_us(&self, at: u64) -> u64 {
        self.drifted(at) - self.drifted(self.booted)
    }

    fn drifted(&self, at: u64) -> u64 {
        (signed(at) + signed(at) * self.spec.drift_ppm / 1_000_000).max(0).unsigned_abs()
    }
}

fn signed(us: u64) -> i64 {
    i64::try_from(us).expect("a run is shorter than the age of the universe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_jumps_and_the_monotonic_clock_does_not() {
        let mut clock = NodeClock::new(ClockSpec { offset_us: 5, drift_ppm: 100, tick_us: 1 });
        assert_eq!(clock.wall_us(1_000_000), START_US + 1_000_105);
        clock.jump(-2_000_000);
        assert!(clock.wall_us(1_000_000) < clock.wall_us(0) + 2_000_000);
        assert_eq!(clock.uptime_us(1_000_000), 1_000_100);
        clock.boot(1_000_000);
        assert_eq!(clock.uptime_us(1_000_000), 0);
    }

    #[test]
    fn a_coarse_clock_shows_multiples_of_its_tick() {
        let clock = NodeClock::new(ClockSpec { tick_us: 10_000, ..ClockSpec::default() });
        assert_eq!(clock.wall_us(19_999), START_US + 10_000);
        assert_eq!(clock.wall_us(20_000), START_US + 20_000);
    }
}
