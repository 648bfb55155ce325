//! What a connection recalls while its reads are at SESSION.
//!
//! It begins with nothing where SESSION is chosen for reads: what was written or read before is not
//! known. It ends where another level is chosen for reads, and with RESET.

use std::collections::BTreeMap;

use crate::core::{
    env::{Failure, Reply, Request},
    quorum::Level,
    seen::Seen,
    types::{Epoch, Key},
};

/// Keys that a connection recalls at most. When it saw more, those it does not know are read at ALL, as
/// long as the ring stays the same.
pub const MOST_KEYS: usize = 1_024;

/// What the answers so far told, and the keys of the requests under way: their answers name none.
#[derive(Debug)]
pub struct Recall {
    seen: Seen,
    /// By their sequence numbers, with the epoch at which they were sent, if it may matter.
    under_way: BTreeMap<u32, (Key, Option<Epoch>)>,
}

impl Recall {
    /// What is needed for reads at this level: nothing, but at SESSION.
    pub fn at(level: Level) -> Option<Self> {
        let begin = || Self { seen: Seen::new(MOST_KEYS), under_way: BTreeMap::new() };
        (level == Level::Session).then(begin)
    }

    /// A read that is not answered with less than was seen.
    pub fn read(&self, key: Key) -> Request {
        self.seen.read(key)
    }

    /// A request is sent to the node, whose shard of that key is at this epoch.
    pub fn sent(&mut self, sequence: u32, key: &Key, epoch: impl FnOnce() -> Epoch) {
        let matters = self.seen.may_forget(self.under_way.len() + 1);
        let epoch = matters.then(epoch);
        self.under_way.insert(sequence, (key.clone(), epoch));
    }

    /// A request was answered; the node knows of the ring of this epoch. What may be older than what the
    /// connection saw becomes STALE.
    pub fn answered(&mut self, sequence: u32, reply: Reply, ring: impl FnOnce() -> Epoch) -> Reply {
        let Some((key, epoch)) = self.under_way.remove(&sequence) else { return reply };
        let is_read = matches!(reply, Reply::Found(_));
        if is_read && self.seen.has_overflowed() && !self.seen.covers(&key, ring()) {
            return Reply::Failed(Failure::Stale);
        }
        // Where the epoch was not taken there is room.
        let epoch = epoch.unwrap_or_default();
        match &reply {
            Reply::Written(version) => self.seen.saw(&key, *version, epoch),
            Reply::Found(Some(record)) => self.seen.saw(&key, record.version, epoch),
            Reply::Found(None) | Reply::Failed(_) => {}
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        env::Failure,
        record::{Record, Version},
        time::Timestamp,
        types::NodeId,
    };

    fn version(time: u64) -> Version {
        Version { timestamp: Timestamp(time), node: NodeId(1) }
    }

    fn known(recall: &Recall, key: &str) -> Option<Version> {
        match recall.read(Key::trusted(key)) {
            Request::Get { at_least, .. } => at_least,
            Request::Put { .. } | Request::Restore { .. } => unreachable!("a read is no put"),
        }
    }

    #[test]
    fn ok_writes_records_and_tombstones_are_recalled_and_failures_are_not() {
        let mut recall = Recall::at(Level::Session).unwrap();
        let tombstone = Record { version: version(2), value: None };
        for (sequence, key, reply) in [
            (0, "written", Reply::Written(version(1))),
            (1, "deleted", Reply::Found(Some(tombstone))),
            (2, "absent", Reply::Found(None)),
            (3, "failed", Reply::Failed(Failure::Timeout)),
        ] {
            recall.sent(sequence, &Key::trusted(key), || unreachable!("there is room"));
            let same = recall.answered(sequence, reply.clone(), || unreachable!("nothing is lost"));
            assert_eq!(same, reply);
        }
        let keys = ["written", "deleted", "absent", "failed"];
        let versions = keys.map(|key| known(&recall, key));
        assert_eq!(versions, [Some(version(1)), Some(version(2)), None, None]);
        assert!(recall.under_way.is_empty());
    }

    #[test]
    fn a_read_of_a_forgotten_key_is_stale_once_the_ring_has_changed() {
        let mut recall = Recall::at(Level::Session).unwrap();
        recall.seen = Seen::new(1);
        let (a, b) = (Key::trusted("a"), Key::trusted("b"));
        recall.sent(0, &a, || unreachable!("there is room"));
        recall.sent(1, &b, || Epoch(1));
        for sequence in 0..2 {
            let written = Reply::Written(version(u64::from(sequence) + 1));
            recall.answered(sequence, written, || Epoch(1));
        }
        let mut read = |sequence, key: &Key, ring| {
            recall.sent(sequence, key, || Epoch(1));
            recall.answered(sequence, Reply::Found(None), || ring)
        };
        assert_eq!(read(2, &b, Epoch(1)), Reply::Found(None));
        assert_eq!(read(3, &b, Epoch(2)), Reply::Failed(Failure::Stale));
        assert_eq!(read(4, &a, Epoch(2)), Reply::Found(None), "it was read at SESSION");
    }

    #[test]
    fn only_reads_at_session_need_it() {
        let need: Vec<Level> =
            Level::EVERY.into_iter().filter(|level| Recall::at(*level).is_some()).collect();
        assert_eq!(need, [Level::Session]);
    }
}
