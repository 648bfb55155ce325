//! What a connection has seen: the versions of the keys that it wrote or read, so that a read at SESSION
//! is never answered with an older one.
//!
//! Source: Terry et al., "Session Guarantees for Weakly Consistent Replicated Data" (1994): read your
//! writes, and monotonic reads.

use std::collections::BTreeMap;

use crate::core::{
    env::Request,
    quorum::Level,
    record::Version,
    types::{Epoch, Key},
};

/// The versions that a connection has seen, of a bounded number of keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    bound: usize,
    versions: BTreeMap<Key, Version>,
    /// Where a key was seen that there was no room for: the oldest epoch at which one was.
    forgotten_at: Option<Epoch>,
}

impl Seen {
    /// Nothing yet; at most `bound` keys.
    pub fn new(bound: usize) -> Self {
        Self { bound, versions: BTreeMap::new(), forgotten_at: None }
    }

    /// The connection was answered: an ok write, or a read that found this version. `epoch` is that of the
    /// node that answered when it was asked.
    pub fn saw(&mut self, key: &Key, version: Version, epoch: Epoch) {
        let has_room = self.versions.len() < self.bound;
        if let Some(newest) = self.versions.get_mut(key) {
            *newest = version.max(*newest);
        } else if has_room {
            self.versions.insert(key.clone(), version);
        } else {
            self.forgotten_at = Some(self.forgotten_at.map_or(epoch, |at| at.min(epoch)));
        }
    }

    /// Whether this many more keys may be too many.
    pub fn may_forget(&self, more: usize) -> bool {
        self.versions.len() + more > self.bound
    }

    /// A read at SESSION. Once there was a key too many, those that are not known are read at ALL: one
    /// of the owners has what the connection saw, if it [covers](Self::covers) the key.
    pub fn read(&self, key: Key) -> Request {
        let at_least = self.versions.get(&key).copied();
        let is_unknown = at_least.is_none() && self.has_overflowed();
        let level = if is_unknown { Level::All } else { Level::Session };
        Request::Get { key, level, at_least }
    }

    /// Whether what a read found is not older than what the connection saw. `epoch` is that of the node
    /// that answered, after the answer. What was forgotten may be, since the ring changed, on members alone
    /// that are no owners now.
    pub fn covers(&self, key: &Key, epoch: Epoch) -> bool {
        self.versions.contains_key(key) || self.forgotten_at.is_none_or(|at| at == epoch)
    }

    /// Whether a key was seen that there was no room for.
    pub fn has_overflowed(&self) -> bool {
        self.forgotten_at.is_some()
    }

    /// Forgets everything: a new session begins.
    pub fn clear(&mut self) {
        *self = Self::new(self.bound);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{time::Timestamp, types::NodeId};

    fn version(time: u64) -> Version {
        Version { timestamp: Timestamp(time), node: NodeId(1) }
    }

    fn read(seen: &Seen, key: &str) -> (Level, Option<Version>) {
        match seen.read(Key::trusted(key)) {
            Request::Get { level, at_least, .. } => (level, at_least),
            Request::Put { .. } | Request::Restore { .. } => unreachable!("a read is no put"),
        }
    }

    #[test]
    fn the_newest_version_of_a_key_is_remembered() {
        let mut seen = Seen::new(2);
        seen.saw(&Key::trusted("a"), version(2), Epoch(1));
        seen.saw(&Key::trusted("a"), version(1), Epoch(1));
        assert_eq!(read(&seen, "a"), (Level::Session, Some(version(2))));
        assert_eq!(read(&seen, "b"), (Level::Session, None));
    }

    #[test]
    fn beyond_the_bound_unknown_keys_are_read_at_all_and_known_ones_as_before() {
        let mut seen = Seen::new(1);
        seen.saw(&Key::trusted("a"), version(1), Epoch(1));
        assert!(!seen.has_overflowed() && seen.may_forget(1));
        seen.saw(&Key::trusted("b"), version(2), Epoch(1));
        assert!(seen.has_overflowed());
        seen.saw(&Key::trusted("a"), version(3), Epoch(1));
        assert_eq!(read(&seen, "a"), (Level::Session, Some(version(3))));
        assert_eq!(read(&seen, "b"), (Level::All, None));
        assert_eq!(read(&seen, "c"), (Level::All, None));
        seen.clear();
        assert_eq!(read(&seen, "b"), (Level::Session, None));
    }

    #[test]
    fn what_was_forgotten_is_covered_on_the_same_ring_only() {
        let (a, b) = (Key::trusted("a"), Key::trusted("b"));
        let mut seen = Seen::new(1);
        assert!(seen.covers(&b, Epoch(7)), "nothing was forgotten");
        seen.saw(&a, version(1), Epoch(1));
        seen.saw(&b, version(2), Epoch(3));
        assert!(seen.covers(&b, Epoch(3)) && !seen.covers(&b, Epoch(4)));
        assert!(seen.covers(&a, Epoch(4)), "its version is known");
        seen.saw(&b, version(3), Epoch(2));
        assert!(!seen.covers(&b, Epoch(3)), "something was forgotten on an older ring");
    }
}
