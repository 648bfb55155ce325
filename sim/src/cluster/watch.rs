//! What each step of a node is held against, and what is told to the recorder.

use kv::{
    env::Entry,
    types::{Key, NodeId},
};

use super::Cluster;
use crate::{
    check::{self, Violation},
    queue::Due,
    trace::{Effects, Given},
    world::clock::true_time,
};

impl Cluster {
    /// Tells the recorder what a node is about to be given.
    pub(super) fn record_given(&mut self, due: &Due) {
        let Some(recorder) = &mut self.recorder else { return };
        match due {
            Due::Arrive { from, message, .. } => {
                recorder.gives(Given::Message(*from, message.clone()));
            }
            Due::Ask { request, what, .. } => {
                recorder.gives(Given::Request(*request, what.clone()));
            }
            Due::Timer { machine, timer, .. } => recorder.gives(Given::Timer(*machine, *timer)),
            // How far the journal is, is known when it is done.
            Due::Synced { .. } | Due::Change { .. } | Due::Wake(_) => {}
        }
    }

    pub(super) fn record_effects(&mut self, id: NodeId, entries_before: usize) {
        let Some(recorder) = &mut self.recorder else { return };
        let shared = self.hosts[id.0 as usize - 1].shared.borrow();
        let effects = Effects {
            entries: shared.journal.since(entries_before).to_vec(),
            timers: shared.timers.clone(),
            notes: shared.notes.clone(),
            messages: shared.outbox.messages.clone(),
            replies: shared.outbox.replies.clone(),
        };
        recorder.did(id, shared.now, shared.uptime, effects);
    }

    /// P2, P14 and the owners of slots, on what a step changed.
    pub(super) fn check_moved(&mut self, id: NodeId, entries_before: usize, touched: Option<&Key>) {
        let bound = true_time(self.at).plus(self.config.max_clock_drift);
        let host = &mut self.hosts[id.0 as usize - 1];
        let Some((node, _)) = &host.node else { return };
        let shared = host.shared.borrow();
        let entries = shared.journal.since(entries_before);
        let changed = entries.iter().filter_map(|entry| match entry {
            Entry::Record(key, _) => Some(key),
            Entry::Opened(_)
            | Entry::ClockFloor(_)
            | Entry::Ring(_)
            | Entry::Dropped(..)
            | Entry::Acceptor(..) => None,
        });
        for entry in entries {
            match entry {
                // A replica that is one no more may forget.
                Entry::Dropped(_, keys) => host.seen.retain(|key, _| !keys.contains(key)),
                Entry::Ring(ring) if ring.epoch() > self.looked_at => {
                    self.looked_at = ring.epoch();
                    if let Err(violation) = check::owners::check(ring) {
                        self.broken.get_or_insert(violation);
                    }
                }
                Entry::Opened(_)
                | Entry::ClockFloor(_)
                | Entry::Record(..)
                | Entry::Ring(_)
                | Entry::Acceptor(..) => {}
            }
        }
        for key in changed.chain(touched) {
            let version = node.inspect_key(key, |shard| shard.version(key.as_str()));
            let seen = host.seen.get(key).copied();
            if version < seen {
                let what = format!("{id} went back from {seen:?} to {version:?}");
                self.broken.get_or_insert(Violation::new("P2", what).about(key));
            }
            let Some(version) = version else { continue };
            if version.timestamp > bound && self.config.max_clock_drift.0 > 0 {
                let what = format!("{id} stores {version}, true time and the bound are {bound}");
                self.broken.get_or_insert(Violation::new("P14", what).about(key));
            }
            if seen != Some(version) {
                host.seen.insert(key.clone(), version);
            }
        }
    }
}
