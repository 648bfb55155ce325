//! What of a journal is not as it was written, and how its files are called.

use std::{fmt, ops::RangeInclusive};

use super::format::PAGE;

/// Something that was safe once is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Batches are nowhere.
    Missing {
        /// Their numbers.
        batches: RangeInclusive<u64>,
        /// In which segment they should be, where that is known.
        near: Option<u32>,
    },
    /// Some entries of a batch are not as they were written.
    Entries {
        /// The batch.
        batch: u64,
        /// The segment, and the page within it.
        at: (u32, u32),
        /// How many of its entries, at least.
        entries: usize,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { batches, near } => {
                let (first, last) = (batches.start(), batches.end());
                match first == last {
                    true => write!(f, "batch {first} is missing")?,
                    false => write!(f, "batches {first} to {last} are missing")?,
                }
                match near {
                    Some(segment) => write!(f, ", near {}", name_of(*segment)),
                    None => Ok(()),
                }
            }
            Self::Entries { batch, at: (segment, page), entries } => write!(
                f,
                "{}: {entries} of the entries of batch {batch}, at byte {}, are damaged",
                name_of(*segment),
                u64::from(*page) * PAGE as u64,
            ),
        }
    }
}

/// The name of a segment's file.
pub fn name_of(segment: u32) -> String {
    format!("segment-{segment:08}")
}

/// The number of a segment, from its file's name.
pub fn number_of(name: &str) -> Option<u32> {
    let number = name.strip_prefix("segment-")?.parse().ok()?;
    (name_of(number) == name).then_some(number)
}
