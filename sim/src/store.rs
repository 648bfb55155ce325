//! The store as a system of the harness: its nodes are those of `kv`, unchanged, and its clients do what the
//! server's connections do.

use std::{collections::BTreeMap, sync::Arc};

use harness::{
    disk::Disk,
    history::{self, TIMEOUT},
    journal::{Opened, Unopened},
    run::Verdict as VerdictOf,
    system::{DoneOf, Input, Io, System},
    tally::Tally,
    world::host::Hosts,
};
use kv::{
    core::{
        env::{Entry, Failure, Reply, Request},
        message::{Body, Message, TopologyBody},
        quorum::Level,
        record::{Record, Version},
        ring::{Change, Ring},
        seen::Seen,
        types::{Epoch, Key, NodeId, RequestId, Value},
    },
    node::{Alarm, Batch, Era, Node, recover::Recovered},
};

use crate::{
    gates::Sometimes,
    journal, ports, says,
    scenario::{Action, ChangeKind, Cluster},
};

/// So often within the shortest pause a node looks at its clocks when nothing happens.
const LOOKS: u64 = 4;
/// A client that hears nothing for this many request timeouts stops waiting.
const PATIENCE: u64 = 3;
/// Keys that a client remembers; few, so that some have more.
const SESSION_KEYS: usize = 3;

/// The store.
pub struct Store;

/// What a run of the store showed.
pub type Verdict = VerdictOf<Store>;
/// An operation on the store.
pub type Done = DoneOf<Store>;
/// How an operation on the store ended.
pub type Outcome = history::Outcome<Answer>;
/// What a story of the store may tell.
pub type Happened = harness::log::Happened<Store>;

/// The ports of a node of the store.
pub type SimPorts = ports::SimPorts<Store>;

/// A node that runs.
pub struct Running {
    /// The node.
    pub node: Node<SimPorts>,
    batch: Batch,
    /// The key that its last step was about, if it was about one.
    pub touched: Option<Key>,
}

/// What a client was told that has its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A write is done, under this version.
    Written(Version),
    /// A read was answered.
    Found(Option<Record>),
}

/// A connection to the store.
pub struct Client {
    seen: Seen,
    /// The epoch at which the coordinator was for the key of each operation that is under way.
    epochs: BTreeMap<u64, Epoch>,
}

impl System for Store {
    type Setup = Cluster;
    type Birth = Arc<Ring>;
    type Node = Running;
    type Message = Message;
    type Timer = Alarm;
    type Entry = Entry;
    type Action = Action;
    /// Over a connection of this era of the node.
    type Ask = (Request, Era);
    type Reply = Reply;
    type Answer = Answer;
    type Client = Client;
    type Wish = ChangeKind;
    type Change = Change;

    fn start(setup: &Cluster, id: u32, ring: Arc<Ring>, kept: Vec<Entry>, io: Io<Self>) -> Running {
        let (id, ports) = (NodeId(id), ports::SimPorts(io));
        let node = Node::start(id, &setup.config, ring, Recovered::replay(kept), ports);
        let batch = node.batch();
        Running { node, batch, touched: None }
    }

    fn open_journal(
        setup: &Cluster,
        node: u32,
        disk: Disk,
        tally: &mut Tally,
    ) -> Result<Opened<Entry>, Unopened<Entry>> {
        let spec = setup.journal.expect("the harness asks where there are disks");
        journal::open(&spec, node, disk, tally)
    }

    fn says_the_same(found: &[Entry], appended: &[Entry]) -> bool {
        journal::says_the_same(found, appended)
    }

    fn live_entries(running: &Running) -> u64 {
        running.node.counts().0 as u64
    }

    fn append_again(running: &Running, entries: Vec<Entry>) {
        running.node.append_again(entries);
    }

    fn step(running: &mut Running, input: Input<Self>, _: &Io<Self>) {
        let Running { node, batch, touched } = running;
        *touched = key_of(&input);
        match input {
            Input::Message(from, message) => {
                node.message(batch, NodeId(from), message);
                node.run_and_flush(batch);
            }
            Input::Ask(ticket, (request, era)) => {
                batch.set_era(era);
                node.request(batch, RequestId(ticket), request);
                node.run_and_flush(batch);
            }
            Input::Timer(alarm) => node.timer(alarm),
            Input::Durable(_) => node.durable(),
            Input::Change(change) => node.change(change),
        }
        match touched {
            Some(key) => node.inspect_key(key, |shard| shard.check_invariants(Some(key))),
            None => check_all(node),
        }
    }

    fn look(running: &mut Running) {
        running.touched = None;
        running.node.look();
    }

    fn look_every_us(setup: &Cluster) -> Option<u64> {
        Some(setup.config.pause_after.0 / LOOKS)
    }

    fn check(running: &Running) {
        check_all(&running.node);
    }

    fn is_news(message: &Message) -> bool {
        matches!(message.body, Body::Topology(TopologyBody::Ring(_)))
    }

    fn is_told(message: &Message) -> bool {
        says::is_about_records(&message.body)
    }

    fn show_message(message: &Message) -> String {
        format!("{} {}", message.epoch, message.body)
    }

    fn show_timer(alarm: &Alarm) -> String {
        alarm.to_string()
    }

    fn show_reply(reply: &Reply) -> String {
        match reply {
            Reply::Written(version) => format!("written {version}"),
            Reply::Found(Some(record)) => format!("found {record}"),
            Reply::Found(None) => "found nothing".into(),
            Reply::Failed(failure) => format!("failed {failure:?}"),
        }
    }

    fn message_name(message: &Message) -> String {
        says::name(&message.body)
    }

    fn timer_name(alarm: &Alarm) -> String {
        alarm.name()
    }

    fn patience_us(setup: &Cluster) -> u64 {
        PATIENCE * setup.config.request_timeout.0
    }

    fn client(_: &Cluster) -> Client {
        Client { seen: Seen::new(SESSION_KEYS), epochs: BTreeMap::new() }
    }

    fn ask(
        client: Option<&mut Client>,
        ticket: u64,
        action: &Action,
        running: &Running,
        tally: &mut Tally,
    ) -> (Request, Era) {
        let request = match (action, client) {
            // As a connection of the server does.
            (Action::Get(key, Level::Session), Some(client)) => {
                client.note_epoch(ticket, action, running);
                let request = client.seen.read(Key::trusted(key));
                if request.level() != Level::Session {
                    tally.sometimes(Sometimes::SessionOverflowed);
                }
                request
            }
            (_, client) => {
                client.into_iter().for_each(|client| client.note_epoch(ticket, action, running));
                request(action)
            }
        };
        (request, running.node.era())
    }

    fn outcome(
        client: Option<&Client>,
        done: &Done,
        reply: Reply,
        running: Option<&Running>,
    ) -> Outcome {
        match reply {
            Reply::Written(version) => Outcome::Ok(Answer::Written(version)),
            Reply::Found(_) if !is_covered(client, done, running) => of_failure(Failure::Stale),
            Reply::Found(record) => Outcome::Ok(Answer::Found(record)),
            Reply::Failed(failure) => of_failure(failure),
        }
    }

    fn ended(client: &mut Client, ticket: u64, done: &Done) {
        let epoch = client.epochs.remove(&ticket).unwrap_or_default();
        if let Some(version) = version(done) {
            client.seen.saw(&Key::trusted(done.action.key()), version, epoch);
        }
    }

    fn came_too_late(outcome: &Outcome, tally: &mut Tally) {
        if *outcome == of_failure(Failure::Paused) {
            tally.sometimes(Sometimes::RefusedLate);
        }
    }

    fn again(action: &mut Action) {
        // A value may be written once only.
        if let Action::Put(_, value, _) = action {
            value.push('!');
        }
    }
}

impl Client {
    fn note_epoch(&mut self, ticket: u64, action: &Action, running: &Running) {
        let key = Key::trusted(action.key());
        let epoch = running.node.inspect_key(&key, |shard| shard.epoch());
        self.epochs.insert(ticket, epoch);
    }
}

/// The key that an input is about, if it is about one.
fn key_of(input: &Input<Store>) -> Option<Key> {
    match input {
        Input::Ask(_, (request, _)) => Some(request.key().clone()),
        Input::Message(_, message) => says::key_of(&message.body).cloned(),
        Input::Timer(_) | Input::Durable(_) | Input::Change(_) => None,
    }
}

fn check_all(node: &Node<SimPorts>) {
    (0..node.shards()).for_each(|shard| node.inspect(shard, |s| s.check_invariants(None)));
}

/// Whether a read at SESSION found what its client is sure not to be behind of, as a connection of the
/// server looks at it.
fn is_covered(client: Option<&Client>, done: &Done, running: Option<&Running>) -> bool {
    let (Action::Get(key, Level::Session), Some(client)) = (&done.action, client) else {
        return true;
    };
    let ring = running.map(|running| running.node.ring().epoch());
    client.seen.covers(&Key::trusted(key), ring.unwrap_or_default())
}

fn request(action: &Action) -> Request {
    let key = Key::trusted(action.key());
    let level = action.level();
    match action {
        Action::Put(_, value, _) => Request::Put { key, value: Some(Value::trusted(value)), level },
        Action::Delete(..) => Request::Put { key, value: None, level },
        Action::Get(..) => Request::Get { key, level, at_least: None },
    }
}

/// What a failure tells the client.
pub fn of_failure(failure: Failure) -> Outcome {
    let name = match failure {
        Failure::Busy => "busy",
        Failure::Timeout => TIMEOUT,
        Failure::Clock(_) => "clock",
        Failure::Paused => "paused",
        Failure::Unavailable => "unavailable",
        Failure::Stale => "stale",
    };
    match failure.is_definite() {
        true => Outcome::Failed(name),
        false => Outcome::Unknown(name),
    }
}

/// The version that an ok write or read is about. None for a read that found nothing.
pub fn version(done: &Done) -> Option<Version> {
    match done.outcome.answer()? {
        Answer::Written(version) => Some(*version),
        Answer::Found(record) => record.as_ref().map(|record| record.version),
    }
}

/// The moment at which an ok write ended.
pub fn written_at(done: &Done) -> Option<(u64, Version)> {
    match done.outcome.answer()? {
        Answer::Written(version) => done.returned.map(|at| (at, *version)),
        Answer::Found(_) => None,
    }
}

/// The moment at which an ok read ended, and what it found.
pub fn found_at(done: &Done) -> Option<(u64, Option<&Record>)> {
    match done.outcome.answer()? {
        Answer::Found(record) => done.returned.map(|at| (at, record.as_ref())),
        Answer::Written(_) => None,
    }
}

/// Looks at a node that runs.
pub fn inspect<T>(
    hosts: &Hosts<Store>,
    id: NodeId,
    look: impl FnOnce(&Node<SimPorts>) -> T,
) -> Option<T> {
    hosts.node(id.0).map(|running| look(&running.node))
}

/// All records of a node. None where it does not run.
pub fn records(hosts: &Hosts<Store>, id: NodeId) -> BTreeMap<Key, Record> {
    let all = |node: &Node<SimPorts>| {
        let shards = 0..node.shards();
        shards.flat_map(|shard| node.inspect(shard, |shard| shard.records())).collect()
    };
    inspect(hosts, id, all).unwrap_or_default()
}

/// The newest record of each key, by versions alone: what a journal says without the store's help.
pub fn newest(entries: &[Entry]) -> BTreeMap<Key, Record> {
    let mut newest: BTreeMap<Key, Record> = BTreeMap::new();
    for entry in entries {
        match entry {
            Entry::Dropped(_, keys) => keys.iter().for_each(|key| drop(newest.remove(key))),
            Entry::Record(key, record) => {
                if newest.get(key).is_none_or(|held| held.version < record.version) {
                    newest.insert(key.clone(), record.clone());
                }
            }
            Entry::Opened(_)
            | Entry::Member(_)
            | Entry::ClockFloor(_)
            | Entry::Ring(_)
            | Entry::Acceptor(..) => {}
        }
    }
    newest
}
