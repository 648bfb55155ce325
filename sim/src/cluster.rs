//! The simulated cluster: unchanged nodes, plugged into a world that one queue of events moves on.

mod power;
mod watch;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use kv::{
    core::{
        env::{Note, Reply, Request},
        message::{Body, Message},
        record::Record,
        ring::{Change, Ring},
        types::{Key, NodeId, RequestId},
    },
    node::{Batch, Node},
};

use crate::{
    check::{Violation, rings::Rings},
    cost::Meter,
    host::{Host, SimPorts, check_all, newest, records},
    log::{Event, Log},
    queue::{Due, Queued, Wake},
    random::Random,
    scenario::{ClockSpec, Network, Scenario},
    script::Waiting,
    sweep::panic_text,
    tally::{Tally, Topic},
    trace::{Given, Recorder},
    world::{
        clock::NodeClock,
        network::{Fate, SimNetwork},
    },
};

/// What a turn of the handle shows to the rest of the simulation.
pub enum Turn {
    /// A node moved. It may have answered clients.
    Moved,
    /// The time has come for something.
    Wake(Wake),
}

/// So often within the shortest pause a node looks at its clocks when nothing happens.
const LOOKS: u64 = 4;

/// Counts of messages, too frequent for names.
#[derive(Clone, Copy, Debug, Default)]
struct Fates {
    delivered: u64,
    doubled: u64,
    held_back: u64,
    lost: u64,
    cut: u64,
    nowhere: u64,
    withheld: u64,
}

/// The simulated cluster.
pub struct Cluster {
    at: u64,
    order: u64,
    queue: BinaryHeap<Reverse<Queued>>,
    hosts: Vec<Host>,
    config: kv::node::config::NodeConfig,
    clocks: Vec<ClockSpec>,
    /// The network between nodes.
    pub network: SimNetwork,
    sync_us: (u64, u64),
    disks: Random,
    /// The event log.
    pub log: Log,
    /// What was counted.
    pub tally: Tally,
    fates: Fates,
    notes: [u64; Note::EVERY.len()],
    sent: u64,
    /// Answers to clients, to be taken after each turn.
    pub answers: Vec<(RequestId, Reply)>,
    /// The first promise that was broken within a step.
    pub broken: Option<Violation>,
    /// The rings that some node has for certain.
    pub rings: Rings,
    /// A node that hears of no ring.
    pub withheld: Option<NodeId>,
    /// While a script decides: what waits for it.
    pub(crate) waiting: Option<Waiting>,
    /// What is recorded of each step, if it is.
    pub recorder: Option<Recorder>,
    /// What counts messages and bytes, if anything does.
    pub meter: Option<Meter>,
}

impl Cluster {
    /// The nodes of a scenario, not started yet.
    pub fn new(scenario: &Scenario, first_ring: Arc<Ring>, log: Log) -> Self {
        let spec = &scenario.cluster;
        let host = |number: u32| {
            let clock = spec.clocks.get(number as usize - 1).copied().unwrap_or_default();
            let mut host = Host::new(NodeClock::new(clock));
            host.first_ring = Some(first_ring.clone());
            host
        };
        let network: &Network = &scenario.network;
        let (rings, broken) = Rings::new(&first_ring);
        Self {
            at: 0,
            order: 0,
            queue: BinaryHeap::new(),
            hosts: (1..=spec.nodes).map(host).collect(),
            config: spec.config.clone(),
            clocks: spec.clocks.clone(),
            network: SimNetwork::new(network, Random::new(scenario.seed, "network")),
            sync_us: spec.sync_us,
            disks: Random::new(scenario.seed, "disks"),
            log,
            tally: Tally::default(),
            fates: Fates::default(),
            notes: [0; Note::EVERY.len()],
            sent: 0,
            answers: Vec::new(),
            broken,
            rings,
            withheld: None,
            waiting: None,
            recorder: None,
            meter: None,
        }
    }

    /// Microseconds since the run began.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// All node ids.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.hosts.len()).map(|n| NodeId(u32::try_from(n).expect("at most 100")))
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse(queued)| queued.at)
    }

    /// Lets the next thing happen.
    pub fn turn(&mut self) -> Option<Turn> {
        let Reverse(Queued { at, due, .. }) = self.queue.pop()?;
        self.at = at;
        Some(match due {
            Due::Wake(wake) => Turn::Wake(wake),
            due => {
                self.act(due);
                Turn::Moved
            }
        })
    }

    /// Wakes the rest of the simulation later.
    pub fn wake(&mut self, at: u64, wake: Wake) {
        self.push(at, Due::Wake(wake));
    }

    /// Somebody asks a node for a change of the ring. In vain, if it does not run.
    pub fn change(&mut self, node: NodeId, change: Change) {
        self.later(Due::Change { node, change });
    }

    /// Lets something happen at once, but not now.
    pub(crate) fn later(&mut self, due: Due) {
        self.push(self.at + 1, due);
    }

    /// How often a node was started.
    pub(crate) fn starts(&self, node: NodeId) -> u32 {
        self.hosts[node.0 as usize - 1].starts
    }

    fn push(&mut self, at: u64, due: Due) {
        self.order += 1;
        self.queue.push(Reverse(Queued { at, order: self.order, due }));
    }

    /// A client asks a node. False when the node does not run.
    pub fn ask(&mut self, to: NodeId, request: RequestId, what: Request) -> bool {
        let era = self.inspect(to, |node| node.era());
        if let Some(era) = era {
            if self.host(to).paused > 0 {
                self.tally
                    .add(Topic::Event, "a request lay in the socket of a node that stood still");
            }
            self.act(Due::Ask { to, request, what, era });
        }
        era.is_some()
    }

    fn has_host(&self, id: NodeId) -> bool {
        (1..=self.hosts.len()).contains(&(id.0 as usize))
    }

    fn host(&mut self, id: NodeId) -> &mut Host {
        &mut self.hosts[id.0 as usize - 1]
    }

    fn record(&mut self, event: &Event<'_>) {
        self.log.record(self.at, event);
    }

    pub(crate) fn act(&mut self, due: Due) {
        let node = match &due {
            Due::Arrive { to, .. } | Due::Ask { to, .. } => *to,
            Due::Timer { node, .. } | Due::Synced { node, .. } | Due::Change { node, .. } => *node,
            Due::Wake(_) => unreachable!("taken by turn"),
        };
        if !self.has_host(node) {
            // A member whose process did not start yet.
            self.fates.nowhere += u64::from(matches!(due, Due::Arrive { .. }));
            return;
        }
        let host = self.host(node);
        let (starts, runs) = (host.starts, host.node.is_some());
        if runs && host.paused > 0 {
            host.backlog.push(due);
            return;
        }
        if runs {
            self.record_given(&due);
        }
        match due {
            Due::Arrive { to, from, id, message } => {
                if !runs {
                    self.fates.nowhere += 1;
                    self.record(&Event::ArrivedNowhere(id, to));
                    return;
                }
                self.fates.delivered += 1;
                self.record(&Event::Arrived(id, to));
                let touched = match &message.body {
                    Body::Write { key, .. } | Body::Read { key, .. } => Some(key.clone()),
                    _ => None,
                };
                self.step(to, touched, |node, batch| {
                    node.message(batch, from, message);
                    node.run_and_flush(batch);
                });
            }
            Due::Ask { to, request, what, era } => {
                let touched = Some(what.key().clone());
                self.step(to, touched, |node, batch| {
                    batch.set_era(era);
                    node.request(batch, request, what);
                    node.run_and_flush(batch);
                });
            }
            Due::Timer { node, starts: of, machine, timer } => {
                if runs && of == starts {
                    self.record(&Event::Fired(node, machine, timer));
                    self.step(node, None, |node, _| node.timer(machine, timer));
                }
            }
            Due::Synced { node, starts: of } => {
                if runs && of == starts {
                    let (before, durable) = {
                        let mut shared = self.host(node).shared.borrow_mut();
                        let before = shared.journal.durable();
                        shared.journal.end_sync();
                        (before, shared.journal.durable())
                    };
                    self.check_rings(node, before, durable);
                    self.record(&Event::Synced(node, durable));
                    if let Some(recorder) = &mut self.recorder {
                        recorder.gives(Given::Durable(durable));
                    }
                    self.step(node, None, |node, _| node.durable());
                }
            }
            Due::Change { node, change } => {
                if runs {
                    self.record(&Event::Changed(node, &change));
                    self.step(node, None, |node, _| node.change(change));
                }
            }
            Due::Wake(_) => {}
        }
    }

    /// Lets a node act, and takes its effects.
    fn step(
        &mut self,
        id: NodeId,
        touched: Option<Key>,
        act: impl FnOnce(&Node<SimPorts>, &mut Batch),
    ) {
        let at = self.at;
        let looks = self.looks(id);
        let host = self.host(id);
        let Some((node, batch)) = &mut host.node else { return };
        let entries_before = host.shared.borrow().journal.len();
        let (clock, shared) = (host.clock, host.shared.clone());
        let is_at = |at: u64| {
            let mut shared = shared.borrow_mut();
            (shared.now, shared.uptime) = (clock.wall(at), clock.uptime(at));
        };
        let acted = catch_unwind(AssertUnwindSafe(|| {
            for look in looks {
                is_at(look);
                node.look();
            }
            is_at(at);
            act(node, batch);
            match &touched {
                Some(key) => node.inspect_key(key, |shard| shard.check_invariants(Some(key))),
                None => check_all(node),
            }
        }));
        if let Err(panic) = acted {
            let what = format!("{id} panicked: {}", panic_text(&*panic));
            self.broken.get_or_insert(Violation::new("invariant", what));
            return;
        }
        self.check_moved(id, entries_before, touched.as_ref());
        self.take_effects(id, entries_before);
    }

    /// When a node looked at its clocks since it did so last, as a server does also when nothing happens: made
    /// up for when something does.
    fn looks(&mut self, id: NodeId) -> Vec<u64> {
        let (at, every) = (self.at, (self.config.pause_after.0 / LOOKS).max(1));
        let host = self.host(id);
        let first = host.looked.saturating_add(every);
        let looks: Vec<u64> =
            (first..=at).step_by(usize::try_from(every).expect("short")).collect();
        host.looked = looks.last().copied().unwrap_or(host.looked);
        looks
    }

    fn take_effects(&mut self, id: NodeId, entries_before: usize) {
        let starts = self.starts(id);
        self.record_effects(id, entries_before);
        let host = self.host(id);
        let (outbox, timers, notes, begins_sync, has_waiting) = {
            let mut shared = host.shared.borrow_mut();
            let outbox = std::mem::take(&mut shared.outbox);
            let timers = std::mem::take(&mut shared.timers);
            let notes = std::mem::take(&mut shared.notes);
            let begins = shared.journal.begin_sync();
            let waits = begins && outbox.is_empty();
            (outbox, timers, notes, begins, waits)
        };
        for note in notes {
            let index = Note::EVERY.iter().position(|n| *n == note).expect("all notes are listed");
            self.notes[index] += 1;
            self.record(&Event::Noted(id, note));
        }
        for (machine, timer, after) in timers {
            if let Some(waiting) = &mut self.waiting {
                waiting.timer(id, machine, timer);
                continue;
            }
            self.push(self.at + after.0, Due::Timer { node: id, starts, machine, timer });
        }
        if has_waiting {
            self.tally.add(Topic::Event, "waited for the journal");
        }
        if begins_sync {
            let (least, most) = self.sync_us;
            let takes = self.disks.random_range(least..=most);
            if self.waiting.is_none() {
                self.push(self.at + takes, Due::Synced { node: id, starts });
            }
        }
        for (to, message) in outbox.messages {
            self.send(id, to, message);
        }
        self.answers.extend(outbox.replies);
        if begins_sync && self.waiting.is_some() {
            self.act(Due::Synced { node: id, starts });
        }
    }

    pub(crate) fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        self.sent += 1;
        if let Some(meter) = &mut self.meter {
            meter.count(self.at, &message);
        }
        let id = self.sent;
        if let Some(waiting) = &mut self.waiting {
            waiting.message(id, from, to, message.clone());
            self.record(&Event::Sent(id, from, to, &message, Fate::Waits));
            return;
        }
        let withheld = self.withheld == Some(to) && matches!(message.body, Body::Ring(_));
        let fate = if withheld { Fate::Cut } else { self.network.fate(from.0, to.0) };
        self.record(&Event::Sent(id, from, to, &message, fate));
        let at = self.at;
        match fate {
            Fate::Arrives(after) => self.push(at + after, Due::Arrive { to, from, id, message }),
            Fate::HeldBack(after) => {
                self.fates.held_back += 1;
                self.push(at + after, Due::Arrive { to, from, id, message });
            }
            Fate::Twice(first, second) => {
                self.fates.doubled += 1;
                let copy = message.clone();
                self.push(at + first, Due::Arrive { to, from, id, message: copy });
                self.push(at + second, Due::Arrive { to, from, id, message });
            }
            Fate::Lost => self.fates.lost += 1,
            Fate::Cut if withheld => self.fates.withheld += 1,
            Fate::Cut => self.fates.cut += 1,
            Fate::Waits => unreachable!("the network decides, not the script"),
        }
    }

    /// Looks at a node that runs.
    pub fn inspect<T>(&self, id: NodeId, look: impl FnOnce(&Node<SimPorts>) -> T) -> Option<T> {
        let host = self.hosts.get((id.0 as usize).checked_sub(1)?)?;
        host.node.as_ref().map(|(node, _)| look(node))
    }

    /// The records that a node's disk has for certain.
    pub fn durable_records(&self, id: NodeId) -> BTreeMap<Key, Record> {
        let shared = self.hosts[id.0 as usize - 1].shared.borrow();
        let durable = usize::try_from(shared.journal.durable()).expect("fits");
        newest(&shared.journal.since(0)[..durable])
    }

    /// The records that a node holds.
    pub fn records(&self, id: NodeId) -> BTreeMap<Key, Record> {
        self.inspect(id, records).unwrap_or_default()
    }

    /// Checks all invariants of all nodes that run.
    pub fn check_everything(&mut self) {
        for id in self.nodes() {
            let checked = catch_unwind(AssertUnwindSafe(|| self.inspect(id, check_all)));
            if let Err(panic) = checked {
                let what = format!("{id}: {}", panic_text(&*panic));
                self.broken.get_or_insert(Violation::new("invariant", what));
            }
        }
    }

    /// Puts the frequent counts into the tally.
    pub fn close(&mut self) {
        let fates = self.fates;
        for (name, count) in [
            ("delivered", fates.delivered),
            ("doubled", fates.doubled),
            ("held back", fates.held_back),
            ("lost", fates.lost),
            ("cut", fates.cut),
            ("to a node that is down", fates.nowhere),
            ("rings withheld", fates.withheld),
        ] {
            self.tally.add_many(Topic::Message, name, count);
        }
        for (note, count) in Note::EVERY.iter().zip(self.notes) {
            self.tally.add_many(Topic::Note, &format!("{note:?}"), count);
        }
    }
}
