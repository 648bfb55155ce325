//! A node's clocks.
//!
//! The wall clock starts off by an offset, drifts, jumps forwards and backwards. The monotonic clock
//! only drifts. What must be survived: any clock of one node; all others within an eighth of
//! `max_clock_drift`.

use kv::core::time::{Micros, Timestamp};

use crate::scenario::ClockSpec;

/// True time at the start of a run, in microseconds since the Unix epoch. Large enough for clocks
/// that are years behind.
pub const START_US: u64 = 1_700_000_000_000_000;

/// True time, `at` microseconds into a run.
pub fn true_time(at: u64) -> Timestamp {
    Timestamp::from_micros(START_US + at)
}

/// A node's clocks.
#[derive(Clone, Copy, Debug)]
pub struct NodeClock {
    spec: ClockSpec,
    jumped_us: i64,
    booted: u64,
}

impl NodeClock {
    /// Clocks of a node that starts at the beginning of the run.
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

    /// What the wall clock says at a moment of true time.
    pub fn wall(&self, at: u64) -> Timestamp {
        let shown = signed(START_US + self.drifted(at)) + self.spec.offset_us + self.jumped_us;
        let shown = shown.max(1).unsigned_abs();
        Timestamp::from_micros(shown - shown % self.spec.tick_us)
    }

    /// What the monotonic clock says.
    pub fn uptime(&self, at: u64) -> Micros {
        Micros(self.drifted(at) - self.drifted(self.booted))
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
        assert_eq!(clock.wall(1_000_000).micros(), START_US + 1_000_105);
        clock.jump(-2_000_000);
        assert!(clock.wall(1_000_000) < clock.wall(0).plus(Micros(2_000_000)));
        assert_eq!(clock.uptime(1_000_000), Micros(1_000_100));
        clock.boot(1_000_000);
        assert_eq!(clock.uptime(1_000_000), Micros(0));
    }
}
