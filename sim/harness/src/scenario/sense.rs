//! Whether the numbers of a scenario are of a size that a run can have.

use std::fmt::Display;

/// The longest time of a scenario, in milliseconds: one hour.
pub const MAX_MS: u64 = 3_600_000;
/// The same in microseconds.
pub const MAX_US: u64 = MAX_MS * 1_000;

/// What makes no sense about a scenario, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoSense(pub String);

/// Whether something makes sense.
pub type Sense = Result<(), NoSense>;

/// Says what makes no sense.
pub fn no_sense(what: impl Into<String>) -> Sense {
    Err(NoSense(what.into()))
}

/// A number that is out of its range is named, with the range.
pub fn within<T: PartialOrd + Display>(
    name: &str,
    number: T,
    range: std::ops::RangeInclusive<T>,
) -> Sense {
    match range.contains(&number) {
        true => Ok(()),
        false => {
            let (least, most) = (range.start(), range.end());
            no_sense(format!("{name} is {number}, and must be from {least} to {most}"))
        }
    }
}

/// A range of microseconds.
pub fn range_us(name: &str, (from, to): (u64, u64)) -> Sense {
    match from <= to && to <= MAX_US {
        true => Ok(()),
        false => {
            no_sense(format!("{name}: ({from}, {to}) is no range of microseconds up to {MAX_US}"))
        }
    }
}

/// The shares of messages that are lost, doubled and reordered.
pub(crate) fn thousandths(whose: &str, loss: u32, duplicate: u32, reorder: u32) -> Sense {
    for (name, number) in [("loss", loss), ("duplicate", duplicate), ("reorder", reorder)] {
        within(&format!("{whose} {name}"), number, 0..=1_000)?;
    }
    Ok(())
}
