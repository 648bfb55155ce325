//! P6 The later ok write wins: of two ok writes of a key at QUORUM or above, the second begun after the first was
//! answered, the second has the greater version, whoever coordinated them and whatever their clocks say.
//!
//! Writes at ONE and SESSION are no part of it: no majority is told of them, or tells. Nor is a write whose outcome is
//! unknown: it has no version that its client knows of, and may have two. An ok write that was issued again is held to
//! its last version, which is the one that it was answered with.

use harness::{order::overtaken, violation::Violation};

use super::{
    property::Property,
    reads::{Begun, by_key, is_quorum, writes},
};
use crate::{shown::shown, store::Done};

/// Looks at all writes at QUORUM and above.
pub fn check(history: &[Done]) -> Result<(), Violation> {
    for (key, places) in by_key(history) {
        let seen = writes(history, &places, is_quorum);
        let begun = seen.iter().map(|(_, version, place)| Begun {
            at: history[*place].invoked,
            version: Some(*version),
            place: *place,
            is_write: true,
        });
        let begun = begun.collect();
        if let Some((begun, (_, newest, before))) = overtaken(seen, begun) {
            let (later, place) = (shown(begun.version), begun.place);
            let newest = shown(newest);
            let what = format!(
                "op {place} began after op {before} ended with {newest}, and wrote {later}"
            );
            return Err(Violation::new(Property::P6, what).shown_by(key, &[before, place]));
        }
    }
    Ok(())
}
