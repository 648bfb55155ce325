//! Clients that go on while the ring changes, and what they may see of that.
//!
//! Each client alone writes its keys, through one node at a time, at one level. No ok write may be lost, a
//! request may fail only as its level promises, and a node goes away only if it was told to leave.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use redis::{Commands as _, Connection, RedisError, RedisResult};

use crate::{
    cluster::Cluster,
    history::{Broken, History},
    process::{PATIENCE, eventually},
};

/// The levels of the clients.
const CLIENTS: [Level; 8] = {
    use Level::{Linearizable, One, Quorum};
    [Quorum, One, Linearizable, Quorum, Quorum, One, Linearizable, Quorum]
};
/// Keys of each client.
const KEYS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    One,
    Quorum,
    Linearizable,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::One => "one",
            Level::Quorum => "quorum",
            Level::Linearizable => "linearizable",
        }
    }
}

/// What clients share: which nodes they may ask is said by the test, and how they fared by them.
pub struct Load {
    addresses: Vec<SocketAddr>,
    stop: AtomicBool,
    nodes: Mutex<Vec<u16>>,
    /// Nodes that were told to leave: they may go away.
    leaving: Mutex<BTreeSet<u16>>,
    done: AtomicU64,
    /// How requests failed, by the word that the error begins with.
    failed: Mutex<BTreeMap<String, u64>>,
}

/// What a request that failed did.
enum Failure {
    Nothing,
    Perhaps,
    /// Perhaps something, and the connection is no more.
    Closed,
}

impl Load {
    /// A load for these nodes of a cluster.
    pub fn new(cluster: &Cluster, nodes: &[u16]) -> Self {
        Self {
            addresses: (0..10).map(|node| cluster.address(node)).collect(),
            stop: AtomicBool::new(false),
            nodes: Mutex::new(nodes.to_vec()),
            leaving: Mutex::default(),
            done: AtomicU64::new(0),
            failed: Mutex::default(),
        }
    }

    /// A node serves now: clients go there too.
    pub fn joined(&self, node: u16) {
        self.nodes.lock().unwrap().insert(0, node);
    }

    /// A node is about to be told to leave. Its clients stay as long as it answers.
    pub fn leaves(&self, node: u16) {
        self.leaving.lock().unwrap().insert(node);
    }

    /// Waits until the clients have done so much more.
    pub fn goes_on(&self, by: u64) {
        let goal = self.done.load(Ordering::Relaxed) + by;
        eventually("operations under way", || {
            (self.done.load(Ordering::Relaxed) >= goal).then_some(())
        });
    }

    fn node(&self, number: usize) -> u16 {
        let nodes = self.nodes.lock().unwrap();
        nodes[number % nodes.len()]
    }

    fn failed(&self, word: &str) {
        *self.failed.lock().unwrap().entry(word.to_string()).or_default() += 1;
    }

    /// A node refused a connection or closed one.
    fn gone(&self, node: u16, why: &RedisError) {
        let was_told = self.leaving.lock().unwrap().contains(&node);
        assert!(was_told, "the node at place {node} was not told to leave, and went away: {why}");
        self.failed("gone");
        self.nodes.lock().unwrap().retain(|other| *other != node);
    }

    /// What came of a request that failed. Panics when it may not fail so.
    fn failure(&self, node: u16, level: Level, why: &RedisError) -> Failure {
        let Some(word) = why.code() else {
            assert!(why.is_io_error() || why.is_connection_dropped(), "{why}");
            self.gone(node, why);
            return Failure::Closed;
        };
        self.failed(word);
        match word {
            "BUSY" => Failure::Nothing,
            "TIMEOUT" => Failure::Perhaps,
            "UNAVAILABLE" if level == Level::Linearizable => Failure::Nothing,
            _ => panic!("at {} through place {node}: {why}", level.word()),
        }
    }
}

/// A client. It writes through one node, and reads through another.
struct Client<'a> {
    number: usize,
    level: Level,
    load: &'a Load,
    writer: Option<(u16, Connection)>,
    reader: Option<(u16, Connection)>,
    histories: Vec<History>,
}

impl<'a> Client<'a> {
    fn new(number: usize, load: &'a Load) -> Self {
        let histories = vec![History::default(); KEYS];
        Self { number, level: CLIENTS[number], load, writer: None, reader: None, histories }
    }

    fn run(mut self) -> Vec<History> {
        for value in 0.. {
            if self.load.stop.load(Ordering::Relaxed) {
                break;
            }
            self.write(value);
            self.read(value);
        }
        self.histories
    }

    fn connection(&self, at: usize, held: Option<(u16, Connection)>) -> Option<(u16, Connection)> {
        let wanted = self.load.node(self.number + at);
        if let Some((node, connection)) = held
            && node == wanted
        {
            return Some((node, connection));
        }
        match open(self.load.addresses[usize::from(wanted)], self.level) {
            Ok(connection) => Some((wanted, connection)),
            Err(why) => {
                self.load.gone(wanted, &why);
                None
            }
        }
    }

    fn write(&mut self, value: u64) {
        let held = self.writer.take();
        self.writer = self.connection(0, held);
        let Some((node, connection)) = &mut self.writer else { return };
        let at = value as usize % KEYS;
        let (key, history) = (key(self.number, at), &mut self.histories[at]);
        match connection.set::<_, _, ()>(key, value) {
            Ok(()) => {
                history.written(value);
                self.load.done.fetch_add(1, Ordering::Relaxed);
            }
            Err(why) => match self.load.failure(*node, self.level, &why) {
                Failure::Nothing => {}
                Failure::Perhaps => history.perhaps_written(value),
                Failure::Closed => {
                    history.perhaps_written(value);
                    self.writer = None;
                }
            },
        }
    }

    /// Reads the key that was just written, as this value or not.
    fn read(&mut self, value: u64) {
        let held = self.reader.take();
        self.reader = self.connection(1, held);
        let Some((node, connection)) = &mut self.reader else { return };
        let at = value as usize % KEYS;
        match connection.get::<_, Option<u64>>(key(self.number, at)) {
            Ok(found) => {
                let judged = match self.level {
                    // It may be stale: what it may not be is something that nobody wrote.
                    Level::One => {
                        match found.is_none_or(|f| f <= value && f % KEYS as u64 == at as u64) {
                            true => Ok(()),
                            false => Err(Broken::Early(found)),
                        }
                    }
                    Level::Quorum | Level::Linearizable => self.histories[at].read(found),
                };
                judged.unwrap_or_else(|why| {
                    panic!("{} through place {node}: {why}", key(self.number, at));
                });
                self.load.done.fetch_add(1, Ordering::Relaxed);
            }
            Err(why) => {
                if let Failure::Closed = self.load.failure(*node, self.level, &why) {
                    self.reader = None;
                }
            }
        }
    }
}

/// A connection at a level. Without `expect`: the node may be one that leaves.
fn open(address: SocketAddr, level: Level) -> RedisResult<Connection> {
    let client = redis::Client::open(format!("redis://{address}"))?;
    let mut connection = client.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let words = ["READ", level.word(), "WRITE", level.word()];
    let () = redis::cmd("CONSISTENCY").arg(&words).query(&mut connection)?;
    Ok(connection)
}

fn key(client: usize, at: usize) -> String {
    format!("c{client}-{at}")
}

/// Runs clients while `act` changes the ring; then all that they know is read through these nodes.
pub fn under_load(cluster: &Cluster, load: &Load, last: &[u16], act: impl FnOnce()) {
    let mut histories: Vec<Vec<History>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS.len())
            .map(|number| scope.spawn(move || Client::new(number, load).run()))
            .collect();
        // The clients end even if something fails here.
        let acted = catch_unwind(AssertUnwindSafe(|| {
            load.goes_on(200);
            act();
            load.goes_on(200);
        }));
        load.stop.store(true, Ordering::Relaxed);
        let histories: Vec<_> =
            clients.into_iter().map(|client| client.join().expect("a promise was kept")).collect();
        acted.expect("the ring changed");
        histories
    });
    let (done, failed) = (load.done.load(Ordering::Relaxed), load.failed.lock().unwrap());
    println!("{done} operations, failed: {failed:?}");
    // A cluster that refuses everything loses nothing.
    assert!(done >= failed.values().sum(), "{done} operations, failed: {failed:?}");
    for node in last {
        let mut connection = cluster.connect(*node);
        for (number, histories) in histories.iter_mut().enumerate() {
            for (at, history) in histories.iter_mut().enumerate() {
                settles(&mut connection, number, at, history);
            }
        }
    }
}

/// What is found in the end is what the client knows of: at once, but for what was written at ONE, which a
/// majority has only once the owners have compared what they hold.
fn settles(connection: &mut Connection, number: usize, at: usize, history: &mut History) {
    let key = key(number, at);
    let is_at_once = CLIENTS[number] != Level::One;
    eventually(&format!("the last write of {key}"), || match connection.get(&key) {
        Ok(found) => match history.read(found) {
            Err(why) if is_at_once => panic!("{key}: {why}"),
            read => read.ok(),
        },
        Err(why) => {
            assert_eq!(why.code(), Some("TIMEOUT"), "{key}: {why}");
            None
        }
    });
}
