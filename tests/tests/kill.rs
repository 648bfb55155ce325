//! Nodes that are killed or asked to end, under load.

use std::{
    io::{Read as _, Write as _},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use redis::{Commands as _, Connection, RedisResult};
use rustix::process::Signal;
use tests::{
    cluster::{Cluster, read_all},
    history::History,
    process::eventually,
};

/// The node that is killed: n3. The others stay.
const KILLED: u16 = 2;
const CLIENTS: u16 = 6;
const KEYS: usize = 4;

/// What the clients share.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    killed: AtomicBool,
    /// Writes and reads that were ok, through nodes that stay.
    written: AtomicU64,
    read: AtomicU64,
}

/// A client that writes its own keys through one node, and reads them through another one that stays.
struct Client {
    name: String,
    through: u16,
    writer: Connection,
    reader: Connection,
    histories: Vec<History>,
}

impl Client {
    fn new(cluster: &Cluster, number: u16) -> Self {
        let through = number % 3;
        Self {
            name: format!("c{number}"),
            through,
            writer: cluster.connect(through),
            reader: cluster.connect((through + 1) % 2),
            histories: vec![History::default(); KEYS],
        }
    }

    fn key(&self, key: usize) -> String {
        format!("{}-{key}", self.name)
    }

    /// Writes and reads until it is told to stop, or until its node is gone.
    fn run(mut self, load: &Load) -> Self {
        for value in 0.. {
            if load.stop.load(Ordering::Relaxed) || !self.write(value, load) {
                break;
            }
            self.read(value as usize % KEYS, load);
        }
        self
    }

    /// Whether its node is still there.
    fn write(&mut self, value: u64, load: &Load) -> bool {
        let key = self.key(value as usize % KEYS);
        let history = &mut self.histories[value as usize % KEYS];
        let answer: RedisResult<()> = self.writer.set(key, value);
        match answer {
            Ok(()) => {
                history.written(value);
                let stays = u64::from(self.through != KILLED);
                load.written.fetch_add(stays, Ordering::Relaxed);
            }
            Err(why) if why.code() == Some("TIMEOUT") => history.perhaps_written(value),
            // Nothing was done.
            Err(why) if why.code() == Some("BUSY") => {}
            Err(why) => {
                let was_killed = self.through == KILLED && load.killed.load(Ordering::Relaxed);
                assert!(was_killed, "{}: {why}", self.name);
                history.perhaps_written(value);
                return false;
            }
        }
        true
    }

    fn read(&mut self, key: usize, load: &Load) {
        let answer: RedisResult<Option<u64>> = self.reader.get(self.key(key));
        match answer {
            Ok(found) => {
                self.check(key, found);
                load.read.fetch_add(1, Ordering::Relaxed);
            }
            Err(why) => assert!(matches!(why.code(), Some("TIMEOUT" | "BUSY")), "{why}"),
        }
    }

    fn check(&mut self, key: usize, found: Option<u64>) {
        if let Err(why) = self.histories[key].read(found) {
            panic!("{}: {why}", self.key(key));
        }
    }
}

#[test]
fn quorum_goes_on_when_a_node_is_killed_and_no_ok_write_is_lost() {
    let mut cluster = Cluster::start(3, &[]);
    let load = Load::default();
    let mut clients: Vec<Client> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|number| Client::new(&cluster, number)).collect();
        let clients: Vec<_> =
            clients.into_iter().map(|client| scope.spawn(|| client.run(&load))).collect();
        let progress = |what, by| {
            let count =
                || load.written.load(Ordering::Relaxed).min(load.read.load(Ordering::Relaxed));
            let goal = count() + by;
            // A client that panics makes the test fail at once, not when patience ends.
            eventually(what, || (count() >= goal || load_ended(&clients, &load)).then_some(()));
        };
        progress("operations before the kill", 1_000);
        load.killed.store(true, Ordering::Relaxed);
        cluster.nodes[usize::from(KILLED)].kill();
        progress("operations after the kill", 3_000);
        load.stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("a promise was kept")).collect()
    });
    for node in 0..2 {
        let mut connection = cluster.connect(node);
        for client in &mut clients {
            for key in 0..KEYS {
                let found = connection.get(client.key(key)).expect("QUORUM goes on");
                client.check(key, found);
            }
        }
    }
}

/// Whether a client that should still run has ended.
fn load_ended(clients: &[thread::ScopedJoinHandle<'_, Client>], load: &Load) -> bool {
    let of_killed = |number: usize| number % 3 == usize::from(KILLED);
    let may_have_ended = |number| of_killed(number) && load.killed.load(Ordering::Relaxed);
    clients.iter().enumerate().any(|(n, client)| client.is_finished() && !may_have_ended(n))
}

#[test]
fn without_a_majority_quorum_fails_honestly_and_one_goes_on() {
    let mut cluster = Cluster::start(3, &[]);
    let mut connection = cluster.connect(0);
    let () = connection.set("a", "before").unwrap();
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    let why = connection.set::<_, _, ()>("a", "after").unwrap_err();
    assert_eq!(why.code(), Some("TIMEOUT"));
    assert!(why.to_string().contains("may or may not take effect"), "{why}");
    assert_eq!(connection.get::<_, String>("a").unwrap_err().code(), Some("TIMEOUT"));
    let one = ["READ", "one", "WRITE", "one"];
    let () = redis::cmd("CONSISTENCY").arg(&one).query(&mut connection).unwrap();
    // The write that timed out did take effect here, on the node that was asked: it said so.
    assert_eq!(connection.get::<_, String>("a").unwrap(), "after");
    let () = connection.set("a", "last").unwrap();
    assert_eq!(connection.get::<_, String>("a").unwrap(), "last");
}

#[test]
fn a_node_that_is_asked_to_end_answers_the_request_that_waits_for_its_peers() {
    let mut cluster = Cluster::start(3, &[]);
    let mut observer = cluster.connect(0);
    let mut stream = cluster.stream(0);
    let peers = |cluster: &Cluster, signal| {
        cluster.nodes[1..].iter().for_each(|peer| peer.signal(signal));
    };
    peers(&cluster, Signal::STOP);
    stream.write_all(b"SET a b\r\n").unwrap();
    eventually("a request under way", || {
        let info: String = redis::cmd("INFO").query(&mut observer).unwrap();
        info.contains("requests_in_flight:1\r\n").then_some(())
    });
    cluster.nodes[0].signal(Signal::TERM);
    cluster.nodes[0].logs("ending; ");
    peers(&cluster, Signal::CONT);
    let answer = String::from_utf8(read_all(&stream)).unwrap();
    assert_eq!(cluster.nodes[0].wait().code(), Some(0));
    // On a machine so busy that the peers come back too late, the honest answer is the other one.
    assert!(answer == "+OK\r\n" || answer.starts_with("-TIMEOUT "), "{answer:?}");
}

#[test]
fn a_node_that_is_asked_to_end_under_load_answers_what_it_took_and_exits_with_0() {
    let mut cluster = Cluster::start(3, &[]);
    let mut stream = cluster.stream(0);
    let mut bytes = Vec::new();
    for number in 0..20_000 {
        kv::resp::reply::command(&mut bytes, &["SET", &format!("k{number}"), "v"]);
    }
    let mut writer = stream.try_clone().unwrap();
    // Its end may come before everything is written.
    let writing = thread::spawn(move || drop(writer.write_all(&bytes)));
    let mut first = [0; 5];
    stream.read_exact(&mut first).unwrap();
    cluster.nodes[0].signal(Signal::TERM);
    let answers = [&first[..], &read_all(&stream)].concat();
    writing.join().unwrap();
    assert_eq!(cluster.nodes[0].wait().code(), Some(0));

    let answers = String::from_utf8(answers).unwrap();
    let count = answers.len() / 5;
    assert_eq!(answers, "+OK\r\n".repeat(count), "whole answers, each of them OK");
    // What was answered is there.
    let keys: Vec<String> = (0..count).map(|number| format!("k{number}")).collect();
    let mut connection = cluster.connect(1);
    for keys in keys.chunks(1_000) {
        assert_eq!(connection.exists::<_, usize>(keys).unwrap(), keys.len());
    }
}
