//! P4 Quorum reads are monotonic, across clients: what one found, a later one finds too, or newer.

use harness::violation::Violation;

use super::{
    property::Property,
    reads::{Seen, by_key, is_quorum, missed, reads, stale_read},
};
use crate::store::{Done, found_at};

/// Looks at all reads at QUORUM and above.
pub fn check(history: &[Done]) -> Result<(), Violation> {
    for (key, places) in by_key(history) {
        let reads = reads(history, &places, is_quorum);
        let seen: Vec<Seen> = reads
            .iter()
            .filter_map(|place| {
                let (at, record) = found_at(&history[*place])?;
                record.map(|record| (at, record.version, *place))
            })
            .collect();
        if let Some((read, seen)) = stale_read(history, seen, &reads) {
            return Err(missed(Property::P4, key, read, &seen, history));
        }
    }
    Ok(())
}
