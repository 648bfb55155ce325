//! What several properties have in common: the operations of a key, and reads that miss something.

use std::collections::BTreeMap;

use harness::{
    order::{self, overtaken},
    violation::Violation,
};
use kv::core::{quorum::Level, record::Version};

use crate::{
    check::property::Property,
    shown::shown,
    store::{Done, found_at, version, written_at},
};

/// Something that must be seen by whatever begins later: since when, which version, which operation.
pub type Seen = order::Seen<Version>;
/// Something that began.
pub type Begun = order::Begun<Version>;

/// The operations of each key, as places in the history.
pub fn by_key(history: &[Done]) -> BTreeMap<&str, Vec<usize>> {
    let mut keys: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, done) in history.iter().enumerate() {
        keys.entry(done.action.key()).or_default().push(place);
    }
    keys
}

/// Finds a read that began after something was seen and found an older version of the key.
pub fn stale_read(history: &[Done], seen: Vec<Seen>, reads: &[usize]) -> Option<(usize, Seen)> {
    let begun = |place: &usize| {
        let done = &history[*place];
        Begun { at: done.invoked, version: version(done), place: *place, is_write: false }
    };
    let (read, seen) = overtaken(seen, reads.iter().map(begun).collect())?;
    Some((read.place, seen))
}

/// Ok writes of some operations at some levels, as things seen.
pub fn writes(history: &[Done], places: &[usize], level: impl Fn(Level) -> bool) -> Vec<Seen> {
    let of_level = places.iter().filter(|place| level(history[**place].action.level()));
    of_level.filter_map(|p| written_at(&history[*p]).map(|(at, v)| (at, v, *p))).collect()
}

/// Ok reads of some operations at some levels.
pub fn reads(history: &[Done], places: &[usize], level: impl Fn(Level) -> bool) -> Vec<usize> {
    let of_level = places.iter().copied().filter(|place| level(history[*place].action.level()));
    of_level.filter(|place| found_at(&history[*place]).is_some()).collect()
}

/// Whether a level is at least QUORUM.
pub fn is_quorum(level: Level) -> bool {
    level.is_majority()
}

pub fn missed(
    property: Property,
    key: &str,
    read: usize,
    seen: &Seen,
    history: &[Done],
) -> Violation {
    let (_, missed, other) = seen;
    let (missed, found) = (shown(*missed), shown(version(&history[read])));
    let what = format!("op {read} began after op {other} ended with {missed}, and found {found}");
    Violation::new(property, what).shown_by(key, &[*other, read])
}
