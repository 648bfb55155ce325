//! Nodes that start, stop, stand still, and whose clocks jump.

use std::{collections::BTreeMap, sync::Arc};

use kv::{
    core::{
        env::Entry,
        record::Record,
        ring::Ring,
        time::{Micros, Timestamp},
        types::{Key, NodeId},
    },
    node::{Node, Outbox, recover::Recovered},
};

use super::Cluster;
use crate::{
    check::{Violation, shown},
    host::{Host, SimPorts, newest, records},
    log::Event,
    tally::Topic,
    trace::{Effects, Given},
    world::clock::NodeClock,
};

impl Cluster {
    /// A process that the ring made a member starts, with that ring. Ids that were handed out and never
    /// shown are those of processes that never started.
    pub fn join(&mut self, id: NodeId, ring: &Arc<Ring>) {
        while self.hosts.len() < id.0 as usize {
            let turn = self.hosts.len() % self.clocks.len().max(1);
            let clock = self.clocks.get(turn).copied().unwrap_or_default();
            self.hosts.push(Host::new(NodeClock::new(clock)));
        }
        self.host(id).first_ring = Some(ring.clone());
        self.start(id);
    }

    /// The others can do without a node: whatever it still holds, it might forget.
    pub fn release(&mut self, id: NodeId) {
        for (key, record) in self.records(id) {
            self.check_given_up(id, "was released with", &key, record.version);
        }
        self.retire(id);
    }

    /// A node stops, and is never started again.
    pub fn retire(&mut self, id: NodeId) {
        self.crash(id);
        if self.has_host(id) {
            self.host(id).first_ring = None;
        }
    }

    /// Starts a node: anew, or from what its journal kept.
    pub fn start(&mut self, id: NodeId) {
        let (at, config) = (self.at, self.config.clone());
        let host = self.host(id);
        let Some(first_ring) = host.first_ring.clone() else { return };
        if host.node.is_some() || host.down > 0 {
            return;
        }
        host.clock.boot(at);
        host.starts += 1;
        host.looked = at;
        let entries: Vec<Entry> = {
            let mut shared = host.shared.borrow_mut();
            shared.now = host.clock.wall(at);
            shared.uptime = host.clock.uptime(at);
            shared.journal.since(0).to_vec()
        };
        let kept = newest(&entries);
        let entries_before = entries.len();
        host.seen = kept.iter().map(|(key, record)| (key.clone(), record.version)).collect();
        let ports = SimPorts(host.shared.clone());
        let restarted = !entries.is_empty();
        let node = Node::start(id, &config, first_ring, Recovered::replay(entries), ports);
        let batch = node.batch();
        let held = records(&node);
        host.node = Some((node, batch));
        if let Some(recorder) = &mut self.recorder {
            recorder.gives(Given::Start);
        }
        self.record(&Event::Started(id));
        if restarted {
            self.tally.add(Topic::Event, "restarted from journal");
        }
        if held != kept {
            let differs = |key: &&Key| held.get(*key) != kept.get(*key);
            let key = held.keys().chain(kept.keys()).find(differs).expect("they differ");
            let of = |records: &BTreeMap<Key, Record>| {
                shown(records.get(key).map(|record| record.version))
            };
            let what = format!(
                "after a restart {id} holds {} of the key, and its journal has {}",
                of(&held),
                of(&kept)
            );
            self.broken.get_or_insert(Violation::new("P2", what).about(key));
        }
        self.take_effects(id, entries_before);
    }

    /// A node stops at once: what was not durable is lost.
    pub fn crash(&mut self, id: NodeId) {
        if !self.has_host(id) {
            return;
        }
        let host = self.host(id);
        host.down += 1;
        host.backlog.clear();
        if let Some(waiting) = &mut self.waiting {
            waiting.stopped(id);
        }
        let host = self.host(id);
        if host.node.take().is_some() {
            let lost = {
                let shared = &mut *host.shared.borrow_mut();
                shared.timers.clear();
                shared.notes.clear();
                shared.outbox = Outbox::default();
                shared.journal.crash()
            };
            self.log.record(self.at, &Event::Stopped(id, lost));
            if let Some(recorder) = &mut self.recorder {
                recorder.gives(Given::Crash);
                recorder.did(id, Timestamp::default(), Micros(0), Effects::default());
            }
            if lost > 0 {
                self.tally.add(Topic::Event, "crash lost entries");
            }
        }
    }

    /// One fault less keeps a node down.
    pub fn restart(&mut self, id: NodeId) {
        if !self.has_host(id) {
            return;
        }
        let host = self.host(id);
        host.down = host.down.saturating_sub(1);
        self.start(id);
    }

    /// One fault more, or less, keeps a node from doing anything.
    pub fn pause(&mut self, id: NodeId, on: bool) {
        if !self.has_host(id) {
            return;
        }
        if on && self.host(id).paused == 0 {
            // Up to now it looked at its clocks, and in the pause it does not.
            self.step(id, None, |_, _| {});
        }
        let at = self.at;
        let host = self.host(id);
        host.paused = if on { host.paused + 1 } else { host.paused.saturating_sub(1) };
        if host.paused == 0 {
            host.looked = at;
            for due in std::mem::take(&mut host.backlog) {
                self.act(due);
            }
        }
    }

    /// A node's wall clock jumps.
    pub fn jump(&mut self, id: NodeId, by_us: i64) {
        if self.has_host(id) {
            self.host(id).clock.jump(by_us);
        }
    }
}
