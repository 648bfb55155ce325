//! Lengths of time, hybrid timestamps, and what a node doubts about its clock.

use std::fmt;

use serde::{Deserialize, Serialize};

const LOGICAL_BITS: u32 = 10;

/// A hybrid timestamp: microseconds since the Unix epoch and a logical part of 10 bits below them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The first timestamp of a microsecond.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros << LOGICAL_BITS)
    }

    /// The microsecond that this timestamp is in.
    pub const fn micros(self) -> u64 {
        self.0 >> LOGICAL_BITS
    }

    /// This timestamp, some time later.
    pub const fn plus(self, length: Micros) -> Self {
        Self(self.0.saturating_add(length.0 << LOGICAL_BITS))
    }

    /// The next timestamp.
    pub const fn successor(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.micros(), self.0 & ((1 << LOGICAL_BITS) - 1))
    }
}

/// A length of time, in microseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Micros {
    /// `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1_000)
    }

    /// The same length as the standard library has it.
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0)
    }
}

/// Why writes are not coordinated by a node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ClockDoubt {
    /// It is ahead of the median of its peers' and its own by so many microseconds (behind, where negative), and
    /// may be off by no more than this.
    Off {
        /// How far ahead.
        ahead_us: i64,
        /// How far it may be.
        most: Micros,
    },
    /// It was not compared with enough of its peers' clocks since the node started, or since it leapt.
    NotCompared,
    /// The last timestamp that the node had issued before it started again is so far ahead of it.
    StartedAhead(Micros),
    /// The version of a record that is to be restored is so far ahead of it.
    RecordAhead(Micros),
}

impl fmt::Display for ClockDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClockDoubt::Off { ahead_us, most } => write!(
                f,
                "this node's clock is off by {}, {} its peers' (more than {}); set it right, or ask another node",
                Seconds(ahead_us.unsigned_abs()),
                if *ahead_us > 0 { "ahead of" } else { "behind" },
                Seconds(most.0),
            ),
            ClockDoubt::NotCompared => f.write_str(
                "this node's clock was not compared with enough of its peers' yet; try again in a moment, or ask \
                 another node",
            ),
            ClockDoubt::StartedAhead(by) => write!(
                f,
                "this node issued timestamps before it started again that are {} ahead of its clock; wait for so \
                 long, or ask another node",
                Seconds(by.0),
            ),
            ClockDoubt::RecordAhead(by) => write!(
                f,
                "the record is {} ahead of this node's clock, so it would hide all that is written until then; \
                 set the clock right, or wait for so long",
                Seconds(by.0),
            ),
        }
    }
}

/// A length of time, for people.
pub struct Seconds(pub u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whole milliseconds, at least one decimal.
        let (seconds, ms) = (self.0 / 1_000_000, self.0 / 1_000 % 1_000);
        match ms % 100 {
            0 => write!(f, "{seconds}.{} s", ms / 100),
            _ => write!(f, "{seconds}.{ms:03} s"),
        }
    }
}
