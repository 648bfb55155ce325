//! P3 Quorum reads see quorum writes: a write that was ok before a read began, both at least at
//! QUORUM, is found, or a newer one.

use harness::violation::Violation;

use super::{
    property::Property,
    reads::{by_key, is_quorum, missed, reads, stale_read, writes},
};
use crate::store::Done;

/// Looks at all reads at QUORUM and above.
pub fn check(history: &[Done]) -> Result<(), Violation> {
    for (key, places) in by_key(history) {
        let seen = writes(history, &places, is_quorum);
        let reads = reads(history, &places, is_quorum);
        if let Some((read, seen)) = stale_read(history, seen, &reads) {
            return Err(missed(Property::P3, key, read, &seen, history));
        }
    }
    Ok(())
}
