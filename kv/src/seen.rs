//! What a connection has seen: the versions of the keys that it wrote or read, so that a read at SESSION
//! is never answered with an older one.
//!
//! Source: Terry et al., "Session Guarantees for Weakly Consistent Replicated Data" (1994): read your
//! writes, and monotonic reads.

use std::collections::BTreeMap;

use crate::{env::Request, quorum::Level, record::Version, types::Key};

/// The versions that a connection has seen, of a bounded number of keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    bound: usize,
    versions: BTreeMap<Key, Version>,
    /// A key was seen that there was no room for.
    overflowed: bool,
}

impl Seen {
    /// Nothing yet; at most `bound` keys.
    pub fn new(bound: usize) -> Self {
        Self { bound, versions: BTreeMap::new(), overflowed: false }
    }

    /// The connection was answered: an ok write, or a read that found this version.
    pub fn saw(&mut self, key: &Key, version: Version) {
        let has_room = self.versions.len() < self.bound;
        if let Some(newest) = self.versions.get_mut(key) {
            *newest = version.max(*newest);
        } else if has_room {
            self.versions.insert(key.clone(), version);
        } else {
            self.overflowed = true;
        }
    }

    /// A read at SESSION. Once there was a key too many, those that are not known are read at ALL: one
    /// of the owners has what the connection saw.
    pub fn read(&self, key: Key) -> Request {
        let at_least = self.versions.get(&key).copied();
        let is_unknown = at_least.is_none() && self.overflowed;
        let level = if is_unknown { Level::All } else { Level::Session };
        Request::Get { key, level, at_least }
    }

    /// Whether a key was seen that there was no room for.
    pub fn has_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Forgets everything: a new session begins.
    pub fn clear(&mut self) {
        *self = Self::new(self.bound);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, types::NodeId};

    fn version(time: u64) -> Version {
        Version { timestamp: Timestamp(time), node: NodeId(1) }
    }

    fn read(seen: &Seen, key: &str) -> (Level, Option<Version>) {
        match seen.read(Key::trusted(key)) {
            Request::Get { level, at_least, .. } => (level, at_least),
            Request::Put { .. } => unreachable!("a read is no put"),
        }
    }

    #[test]
    fn the_newest_version_of_a_key_is_remembered() {
        let mut seen = Seen::new(2);
        seen.saw(&Key::trusted("a"), version(2));
        seen.saw(&Key::trusted("a"), version(1));
        assert_eq!(read(&seen, "a"), (Level::Session, Some(version(2))));
        assert_eq!(read(&seen, "b"), (Level::Session, None));
    }

    #[test]
    fn beyond_the_bound_unknown_keys_are_read_at_all_and_known_ones_as_before() {
        let mut seen = Seen::new(1);
        seen.saw(&Key::trusted("a"), version(1));
        assert!(!seen.has_overflowed());
        seen.saw(&Key::trusted("b"), version(2));
        assert!(seen.has_overflowed());
        seen.saw(&Key::trusted("a"), version(3));
        assert_eq!(read(&seen, "a"), (Level::Session, Some(version(3))));
        assert_eq!(read(&seen, "b"), (Level::All, None));
        assert_eq!(read(&seen, "c"), (Level::All, None));
        seen.clear();
        assert_eq!(read(&seen, "b"), (Level::Session, None));
    }
}
