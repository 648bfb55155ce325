//! Nodes that stand still (SIGSTOP here; a paused virtual machine, or a suspended one) while clients' requests
//! lie in their sockets: what is old when they wake is not run.

use std::{
    io::{ErrorKind, Write as _},
    net::TcpStream,
    thread::sleep,
    time::{Duration, Instant},
};

use redis::{Commands as _, Connection, RedisResult};
use rustix::process::Signal;
use tests::{
    cluster::{Cluster, read_all},
    process::eventually,
    rings::{members, ring},
};

/// Longer than a request may take.
const PAUSE: Duration = Duration::from_millis(2_500);

/// Writes a key on, and says what was acknowledged last.
fn write_on(connection: &mut Connection, key: &str, mut more: impl FnMut(u64) -> bool) -> u64 {
    let mut last = 0;
    while last == 0 || more(last) {
        let () = connection.set(key, last + 1).expect("the others go on");
        last += 1;
    }
    last
}

fn send(mut stream: &TcpStream, words: &[&str]) {
    let mut bytes = Vec::new();
    kv::resp::reply::command(&mut bytes, words);
    stream.write_all(&bytes).expect("the system takes what a stopped process does not");
}

/// What a client is told that asks until the node serves it again.
fn set_eventually(cluster: &Cluster, node: u16, key: &str) {
    eventually("the node serves again", || {
        let client = redis::Client::open(format!("redis://{}", cluster.address(node))).ok()?;
        let mut connection = client.get_connection_with_timeout(PAUSE).ok()?;
        let answer: RedisResult<()> = connection.set(key, "served");
        answer.ok()
    });
}

fn info(cluster: &Cluster, node: u16, name: &str) -> u64 {
    let info: String = redis::cmd("INFO").query(&mut cluster.connect(node)).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("INFO has {name}: {info}")).parse().expect("a number")
}

#[test]
fn what_lay_in_the_sockets_of_a_stopped_node_is_not_run_when_it_wakes() {
    let cluster = Cluster::start(4, &[]);
    let mut others = cluster.connect(1);
    let () = others.set("early", 0).unwrap();
    // Asked once, so that the node has taken it.
    let old = cluster.stream(0);
    let mut taken = cluster.connect(0);
    let () = taken.set("taken", "before").unwrap();
    cluster.nodes[0].signal(Signal::STOP);
    // The system takes a connection for a process that is stopped, and what comes over it.
    let meanwhile = cluster.stream(0);
    let operator = cluster.stream(0);
    send(&old, &["SET", "early", "zombie"]);
    send(&meanwhile, &["SET", "late", "zombie"]);
    send(&operator, &["RING", "LEAVE", "n3"]);
    let begun = Instant::now();
    let last = write_on(&mut others, "early", |_| begun.elapsed() < PAUSE);
    let () = others.set("late", last).unwrap();
    cluster.nodes[0].signal(Signal::CONT);
    let answers = [&old, &meanwhile, &operator]
        .map(|stream| String::from_utf8(read_all_or_answer(stream)).expect("a text"));
    set_eventually(&cluster, 0, "new");
    for node in 0..4 {
        let mut connection = cluster.connect(node);
        let found = ["early", "late"].map(|key| connection.get::<_, String>(key).unwrap());
        assert_eq!(found, [last.to_string(), last.to_string()], "answers: {answers:?}");
    }
    assert_eq!(answers, ["", "", ""], "the connections are closed, and nothing is answered");
    let ring = ring(1, &cluster).expect("it says");
    assert!(members(&ring).iter().all(|(_, state)| state == "Active"), "{ring}");
    assert!(taken.get::<_, String>("taken").is_err(), "this connection is closed too");
    cluster.nodes[0].logs("stood still for");
    cluster.nodes[0].logs("a majority says that its ring is the newest");
    assert!(info(&cluster, 0, "pauses") >= 1);
    assert!(info(&cluster, 0, "connections_closed_after_pauses") >= 2);
}

/// All that comes until the other side closes, or the first answer.
fn read_all_or_answer(stream: &TcpStream) -> Vec<u8> {
    let mut first = [0; 1];
    let there = eventually("an end, or an answer", || match stream.peek(&mut first) {
        Ok(size) => Some(size),
        Err(why) => (why.kind() == ErrorKind::ConnectionReset).then_some(0),
    });
    match there {
        0 => read_all(stream),
        _ => {
            let mut answer = vec![0; 256];
            let size = stream.peek(&mut answer).expect("it is there");
            answer.truncate(size);
            answer
        }
    }
}

#[test]
fn a_node_that_was_evicted_while_it_was_stopped_does_not_run_what_lay_in_its_sockets() {
    let mut cluster = Cluster::start(4, &["--evict-after", "2"]);
    let mut others = cluster.connect(1);
    let old = cluster.stream(0);
    let () = others.set("key", 0).unwrap();
    cluster.nodes[0].signal(Signal::STOP);
    let meanwhile = cluster.stream(0);
    send(&old, &["SET", "key", "zombie"]);
    send(&meanwhile, &["SET", "key", "zombie"]);
    let is_evicted = || {
        let ring = ring(1, &cluster).expect("the others go on");
        ring["joint"] == false && members(&ring).iter().all(|(id, _)| id != "n1")
    };
    let begun = Instant::now();
    let last = write_on(&mut others, "key", |_| {
        assert!(begun.elapsed() < tests::process::PATIENCE, "it is not evicted");
        !is_evicted()
    });
    cluster.nodes[0].signal(Signal::CONT);
    let answers =
        [&old, &meanwhile].map(|stream| String::from_utf8(read_all_or_answer(stream)).unwrap());
    eventually("it joins anew", || {
        let ring = ring(1, &cluster)?;
        (ring["joint"] == false && members(&ring).len() == 4).then_some(())
    });
    for node in 0..4 {
        let found: String = cluster.connect(node).get("key").unwrap();
        assert_eq!(found, last.to_string(), "answers: {answers:?}");
    }
    assert_eq!(answers, ["", ""]);
    assert!(!cluster.nodes[0].has_ended());
}

/// What waits is closed when the pause is noticed, and not when the next client comes.
#[test]
fn who_connects_first_after_a_pause_that_was_noticed_is_served() {
    let cluster = Cluster::start(1, &[]);
    // A machine that is very busy makes the process stand still once more: such a try says nothing.
    let is_served = (1..=5).any(|pauses| {
        cluster.nodes[0].signal(Signal::STOP);
        sleep(PAUSE);
        cluster.nodes[0].signal(Signal::CONT);
        eventually("the pause is noticed", || {
            (cluster.nodes[0].log().matches("stood still for").count() >= pauses).then_some(())
        });
        let client = redis::Client::open(format!("redis://{}", cluster.address(0))).unwrap();
        client.get_connection().is_ok_and(|mut connection| connection.set("key", "value") == Ok(()))
    });
    assert!(is_served, "the first connection after each pause is reset");
}
