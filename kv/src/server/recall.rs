//! What a connection recalls while its reads are at SESSION.
//!
//! It begins with nothing where SESSION is chosen for reads: what was written or read before is not
//! known. It ends where another level is chosen for reads, and with RESET.

use std::collections::BTreeMap;

use crate::{
    env::{Reply, Request},
    quorum::Level,
    seen::Seen,
    types::Key,
};

/// Keys that a connection recalls at most. When it saw more, those it does not know are read at ALL.
pub const MOST_KEYS: usize = 1_024;

/// What the answers so far told, and the keys of the requests under way: their answers name none.
#[derive(Debug)]
pub struct Recall {
    seen: Seen,
    /// By their sequence numbers.
    under_way: BTreeMap<u32, Key>,
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

    /// A request is sent to the node.
    pub fn sent(&mut self, sequence: u32, key: &Key) {
        self.under_way.insert(sequence, key.clone());
    }

    /// A request was answered.
    pub fn answered(&mut self, sequence: u32, reply: &Reply) {
        let Some(key) = self.under_way.remove(&sequence) else { return };
        match reply {
            Reply::Written(version) => self.seen.saw(&key, *version),
            Reply::Found(Some(record)) => self.seen.saw(&key, record.version),
            Reply::Found(None) | Reply::Failed(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        env::Failure,
        record::{Record, Version},
        types::NodeId,
    };

    fn version(time: u64) -> Version {
        Version { timestamp: Timestamp(time), node: NodeId(1) }
    }

    fn known(recall: &Recall, key: &str) -> Option<Version> {
        match recall.read(Key::trusted(key)) {
            Request::Get { at_least, .. } => at_least,
            Request::Put { .. } => unreachable!("a read is no put"),
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
            recall.sent(sequence, &Key::trusted(key));
            recall.answered(sequence, &reply);
        }
        let keys = ["written", "deleted", "absent", "failed"];
        let versions = keys.map(|key| known(&recall, key));
        assert_eq!(versions, [Some(version(1)), Some(version(2)), None, None]);
        assert!(recall.under_way.is_empty());
    }

    #[test]
    fn only_reads_at_session_need_it() {
        let need: Vec<Level> =
            Level::EVERY.into_iter().filter(|level| Recall::at(*level).is_some()).collect();
        assert_eq!(need, [Level::Session]);
    }
}
