//! What a disk did: for logs, stories and tallies.

use std::fmt;

/// A stretch of a file, by the name that it had then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: String,
    /// Where it begins, in bytes.
    pub at: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, at, length } = self;
        let plural = if *length == 1 { "" } else { "s" };
        write!(to, "{length} byte{plural} at {at} of {file}")
    }
}

/// Damage that was done to what is safe, or said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A bit of a byte at rest is another: bit 0 is the lowest.
    Flipped {
        /// The byte.
        place: Place,
        /// The bit, from 0 to 7.
        bit: u32,
    },
    /// Two sectors at rest are in each other's place.
    Swapped(Place, Place),
    /// A write went to another place, and a sync said that it is safe.
    Misdirected {
        /// Where it should be.
        meant: Place,
        /// What it overwrote. None: there was nothing else on the disk.
        hit: Option<Place>,
    },
    /// A write went nowhere, and a sync said that it is safe.
    Lost(Place),
    /// A sync failed, and the system does not write this any more: a later sync says that all is safe.
    Dropped(Place),
}

impl fmt::Display for Damage {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Flipped { place, bit } => write!(to, "bit {bit} of {place} flips"),
            Damage::Swapped(one, other) => write!(to, "{one} and {other} change places"),
            Damage::Misdirected { meant, hit: Some(hit) } => {
                write!(to, "a write of {meant} goes to {hit}")
            }
            Damage::Misdirected { meant, hit: None } => {
                write!(to, "a write of {meant} goes to a place that is no file's")
            }
            Damage::Lost(place) => write!(to, "a write of {place} is said to be safe, and lost"),
            Damage::Dropped(place) => write!(to, "a sync fails, and {place} are dropped"),
        }
    }
}

/// What a loss of power did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PowerLoss {
    /// Sectors whose last content is not there: they are as the last sync left them, as a write since then left them,
    /// of zeros, or beyond the end of the file.
    pub lost: Vec<Place>,
    /// Sectors of which a part is new.
    pub torn: Vec<Place>,
    /// How many of the last changes of names are lost.
    pub names: usize,
}

/// How much a disk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Syncs of files that succeeded, or seemed to.
    pub syncs: u64,
    /// Syncs of names that succeeded.
    pub name_syncs: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Writes and new files for which there was no room.
    pub refused: u64,
    /// Losses of power.
    pub power_losses: u64,
    /// Sectors whose last content was lost with the power.
    pub lost_sectors: u64,
    /// Sectors that were torn.
    pub torn_sectors: u64,
    /// Changes of names that were lost with the power.
    pub lost_names: u64,
}
