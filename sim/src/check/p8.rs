//! P8 Write ALL then read ONE, and the reverse, see each other on an unchanged ring.

use harness::violation::Violation;
use kv::core::quorum::Level;

use super::{
    property::Property,
    reads::{by_key, missed, reads, stale_read, writes},
};
use crate::store::Done;

/// Looks at reads at ONE after writes at ALL, and at reads at ALL after any writes.
pub fn check(history: &[Done], ring_changes: bool) -> Result<(), Violation> {
    if ring_changes {
        return Ok(());
    }
    for (key, places) in by_key(history) {
        let at = |wanted: Level| move |level: Level| level == wanted;
        for (written, read) in [(Level::All, Level::One), (Level::One, Level::All)] {
            let seen = writes(history, &places, at(written));
            let reads = reads(history, &places, at(read));
            if let Some((read, seen)) = stale_read(history, seen, &reads) {
                return Err(missed(Property::P8, key, read, &seen, history));
            }
        }
    }
    Ok(())
}
