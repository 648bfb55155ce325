//! P7 SESSION: a read at SESSION finds what its client wrote or read before, or something newer, or it
//! fails: read your writes, and monotonic reads.

use std::collections::BTreeMap;

use harness::violation::Violation;
use kv::core::quorum::Level;

use super::{
    property::Property,
    reads::{Seen, by_key, missed, reads, stale_read},
};
use crate::store::{Done, version};

/// Looks at the reads at SESSION, client by client.
pub fn check(history: &[Done]) -> Result<(), Violation> {
    for (key, places) in by_key(history) {
        let mut by_client: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for place in places {
            by_client.entry(history[place].client).or_default().push(place);
        }
        for places in by_client.into_values() {
            let ended = |place: &usize| {
                let done = &history[*place];
                Some((done.returned?, version(done)?, *place))
            };
            let seen: Vec<Seen> = places.iter().filter_map(ended).collect();
            let reads = reads(history, &places, |level| level == Level::Session);
            if let Some((read, seen)) = stale_read(history, seen, &reads) {
                return Err(missed(Property::P7, key, read, &seen, history));
            }
        }
    }
    Ok(())
}
