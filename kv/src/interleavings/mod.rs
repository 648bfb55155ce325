//! Every interleaving of the node's locks, of the gate, of the queues and of their wake-ups, explored by
//! loom. Each test runs to exhaustion: no limit of time, of runs or of preemptions.
//!
//! A test is a few threads on a small node: one or two shards, a ring of four slots. Its world keeps a
//! log, and looks at everything that leaves the node: does it rest on what is not durable?

mod commit;
mod gate;
mod locks;
mod pauses;
mod queues;
mod rings;
mod shutdown;

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{
        Arc, Mutex as Unseen,
        atomic::{AtomicU64 as Count, Ordering::Relaxed},
    },
    time::Instant,
};

use loom::future::block_on;

use crate::{
    core::{
        env::{Entry, Note, Reply, Request},
        message::{Body, KeyAnswer, KeyRequest, Message, ShardBody},
        quorum::Level,
        record::{Record, Version},
        ring::Ring,
        time::{Micros, Timestamp},
        types::{Epoch, Incarnation, Key, NodeId, OpId, RequestId, Value},
    },
    node::{
        Alarm, Node, Outbox, Ports, Position,
        config::NodeConfig,
        delivery::{Answers, Delivery, SessionRequest, Sessions},
        locks::atomic::{
            AtomicU64,
            Ordering::{AcqRel, Acquire},
        },
        recover::Recovered,
    },
};

const ME: NodeId = NodeId(1);
const PEER: NodeId = NodeId(2);
/// More entries than any test appends.
const EVERYTHING: u64 = 1_000;

/// Explores a model, and prints how many interleavings it has.
#[expect(clippy::print_stdout, reason = "a test's own count; its helpers are not taken for tests")]
fn explore(name: &str, model: impl Fn() + Send + Sync + 'static) {
    let (runs, started) = (Arc::new(Count::new(0)), Instant::now());
    let mut builder = loom::model::Builder::new();
    // The environment must not make a test smaller than it says.
    (builder.max_permutations, builder.max_duration) = (None, None);
    (builder.preemption_bound, builder.checkpoint_file) = (None, None);
    let counted = runs.clone();
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    let (runs, seconds) = (runs.load(Relaxed), started.elapsed().as_secs_f64());
    println!("{name}: {runs} interleavings in {seconds:.1} s");
}

/// Entries are durable when a thread of the test says so.
struct Journal {
    entries: AtomicU64,
    durable: AtomicU64,
}

/// What a node is plugged into.
struct World {
    /// None: every entry is durable at once.
    journal: Option<Journal>,
    /// None: what leaves is only looked at. The queues have tests of their own.
    delivery: Option<Delivery>,
    /// What both clocks say, in microseconds. Seen by loom: a thread may have read it before a pause.
    clock: AtomicU64,
    log: Unseen<Log>,
}

/// What happened. Not among what loom sees, so that keeping it adds no interleavings.
#[derive(Default)]
struct Log {
    appended: u64,
    /// Where in the journal each record, each floor of the clock and each ring is.
    records: BTreeMap<Version, u64>,
    floors: Vec<(Timestamp, u64)>,
    rings: BTreeMap<Epoch, u64>,
    notes: Vec<Note>,
    messages: Vec<(NodeId, Message)>,
    replies: Vec<(RequestId, Reply)>,
}

type TestNode = Node<Arc<World>>;

/// A node n1 with so many shards in a cluster of so many members, each of which owns everything.
struct Setup {
    serves: bool,
    ring: Arc<Ring>,
    config: NodeConfig,
}

impl Setup {
    fn new(members: usize, shards: u16) -> Self {
        let addresses: Vec<String> = (1..=members).map(|n| format!("h{n}:1")).collect();
        let ring = Arc::new(Ring::form(&addresses, members, 4).expect("a good ring"));
        let config = NodeConfig {
            shards,
            max_clock_drift: Micros(0),
            sync_every: Micros(0),
            ..NodeConfig::default()
        };
        Self { serves: false, ring, config }
    }

    /// The node has sessions, and queues to its peers.
    fn serving(self) -> Self {
        Self { serves: true, ..self }
    }

    /// A node whose journal is durable at once.
    fn node(&self) -> Arc<TestNode> {
        self.start(None)
    }

    /// A node whose journal is durable as far as `journal_reaches` says.
    fn slow_node(&self) -> Arc<TestNode> {
        let node =
            self.start(Some(Journal { entries: AtomicU64::new(0), durable: AtomicU64::new(0) }));
        node.journal_reaches_all();
        node
    }

    fn start(&self, journal: Option<Journal>) -> Arc<TestNode> {
        let delivery = self.serves.then(|| Delivery::new(ME, 8));
        let world = World { journal, delivery, clock: AtomicU64::new(1), log: Unseen::default() };
        let (ring, recovered) = (self.ring.clone(), Recovered::default());
        Arc::new(Node::start(ME, &self.config, ring, recovered, Arc::new(world)))
    }

    /// A key of a shard.
    fn key(&self, shard: u16) -> Key {
        let keys = ('a'..='z').map(|letter| Key::trusted(&letter.to_string()));
        let mut of_shard =
            keys.filter(|key| self.ring.slot_of(key.as_str()).0 % self.config.shards == shard);
        of_shard.next().expect("26 keys and few slots")
    }

    /// The same members, an epoch later.
    fn next_ring(&self) -> Arc<Ring> {
        next(&self.ring)
    }

    /// The first operation that a shard issues.
    fn first_op(&self, shard: u16) -> OpId {
        OpId::first_of(shard, Incarnation(1))
    }
}

fn next(ring: &Ring) -> Arc<Ring> {
    Arc::new(ring.next(ring.members().clone()).expect("a good ring"))
}

fn put(key: &Key, level: Level) -> Request {
    Request::Put { key: key.clone(), value: Some(Value::trusted("v")), level }
}

fn get(key: &Key, level: Level) -> Request {
    Request::Get { key: key.clone(), level, at_least: None }
}

impl TestNode {
    fn sessions(&self) -> &Sessions {
        &self.ports().delivery.as_ref().expect("a node that serves").sessions
    }

    fn ask(&self, id: u64, request: Request) {
        let mut batch = self.batch();
        self.request(&mut batch, RequestId(id), request);
        self.run_and_flush(&mut batch);
    }

    fn hear(&self, epoch: u64, body: impl Into<Body>) {
        let mut batch = self.batch();
        self.message(&mut batch, PEER, Message { epoch: Epoch(epoch), body: body.into() });
        self.run_and_flush(&mut batch);
    }

    /// So many entries become durable.
    fn journal_reaches(&self, upto: u64) {
        self.journal().durable.fetch_max(upto, AcqRel);
        self.durable();
    }

    /// All that was appended so far becomes durable.
    fn journal_reaches_all(&self) {
        self.journal_reaches(self.journal().entries.load(Acquire));
    }

    fn journal(&self) -> &Journal {
        self.ports().journal.as_ref().expect("a slow node")
    }

    fn log<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.ports().log.lock().unwrap())
    }

    /// The requests that were answered, in ascending order.
    fn answered(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.log(|log| log.replies.iter().map(|(id, _)| id.0).collect());
        ids.sort_unstable();
        ids
    }
}

impl Log {
    /// Panics when an effect rests on what is not durable: a record or a version that the clock
    /// could issue again, or a ring.
    fn check(&self, Position(durable): Position, outbox: &Outbox) {
        let check_version = |version: Version| {
            if let Some(at) = self.records.get(&version) {
                assert!(*at <= durable, "the record {at} leaves, and {durable} are durable");
            }
            if version.node == ME {
                let is_below =
                    |(floor, at): &(Timestamp, u64)| version.timestamp < *floor && *at <= durable;
                assert!(
                    self.floors.iter().any(is_below),
                    "a version above the durable floor leaves"
                );
            }
        };
        let check_record = |record: &Record| check_version(record.version);
        for (_, reply) in &outbox.replies {
            match reply {
                Reply::Written(version) => check_version(*version),
                Reply::Found(Some(record)) => check_record(record),
                Reply::Found(None) | Reply::Failed(_) => {}
            }
        }
        for (_, message) in &outbox.messages {
            if let Some(at) = self.rings.get(&message.epoch) {
                assert!(*at <= durable, "a node speaks of a ring that a crash takes back");
            }
            match &message.body {
                Body::KeyRequest(KeyRequest::Write { record, .. })
                | Body::Shard(ShardBody::KeyAnswer(KeyAnswer::Found {
                    record: Some(record),
                    ..
                })) => check_record(record),
                Body::Shard(ShardBody::KeyAnswer(KeyAnswer::Written {
                    newer: Some(version),
                    ..
                })) => check_version(*version),
                Body::KeyRequest(KeyRequest::Read { .. })
                | Body::Shard(_)
                | Body::Topology(_)
                | Body::Gossip(_) => {}
            }
        }
    }
}

impl Ports for Arc<World> {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.load(Acquire))
    }

    fn uptime(&self) -> Micros {
        Micros(self.clock.load(Acquire))
    }

    fn set_timer(&self, _alarm: Alarm, _after: Micros) {}

    fn append(&self, entry: Entry) -> Position {
        let counted = self.journal.as_ref().map(|journal| journal.entries.fetch_add(1, AcqRel) + 1);
        let mut log = self.log.lock().unwrap();
        log.appended += 1;
        let at = counted.unwrap_or(log.appended);
        match entry {
            Entry::Record(_, record) => drop(log.records.insert(record.version, at)),
            Entry::ClockFloor(floor) => log.floors.push((floor, at)),
            Entry::Ring(ring) => drop(log.rings.insert(ring.epoch(), at)),
            Entry::Opened(_) | Entry::Member(_) | Entry::Acceptor(..) | Entry::Dropped(..) => {}
        }
        Position(at)
    }

    fn durable(&self) -> Position {
        let all = Position(u64::MAX);
        self.journal.as_ref().map_or(all, |journal| Position(journal.durable.load(Acquire)))
    }

    fn note(&self, note: Note) {
        self.log.lock().unwrap().notes.push(note);
    }

    fn adopted(&self, ring: &Arc<Ring>) {
        if let Some(delivery) = &self.delivery {
            delivery.directory.adopt(ring);
        }
    }

    fn send(&self, outbox: &mut Outbox) {
        // Looked at before the log is locked: loom must not switch threads under a lock that it
        // does not see.
        let durable = self.durable();
        let mut log = self.log.lock().unwrap();
        log.check(durable, outbox);
        log.messages.extend(outbox.messages.iter().cloned());
        log.replies.extend(outbox.replies.iter().cloned());
        drop(log);
        match &self.delivery {
            Some(delivery) => delivery.send(outbox),
            None => {
                outbox.messages.clear();
                outbox.replies.clear();
            }
        }
    }
}

/// A session as a server has one: it asks, and waits for answers until it is asked to end and has all.
struct Session {
    number: u32,
    answers: Arc<Answers>,
    got: Vec<(u32, Reply)>,
    ends: bool,
}

impl Session {
    fn open(node: &TestNode) -> Self {
        let (number, answers) = node.sessions().open(8);
        Self { number, answers, got: Vec::new(), ends: false }
    }

    fn ask(&self, node: &TestNode, sequence: u32, request: Request) {
        node.ask(SessionRequest { session: self.number, sequence }.id().0, request);
    }

    /// Waits for answers, or to be told to end.
    fn wait(&mut self) {
        let mut taken = Vec::new();
        let open = block_on(poll_fn(|cx| self.answers.poll_take(cx, &mut taken)));
        assert!(open || !self.ends, "told twice");
        self.ends |= !open;
        self.got.append(&mut taken);
    }

    /// Serves until it is asked to end, and so many answers are there.
    fn serve(mut self, node: &TestNode, answers: usize) -> Vec<u32> {
        while !self.ends || self.got.len() < answers {
            self.wait();
        }
        node.sessions().close(self.number);
        self.got.iter().map(|(sequence, _)| *sequence).collect()
    }
}
