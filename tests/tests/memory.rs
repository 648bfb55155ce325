//! What connections hold is bounded, and given back.

use std::{
    io::{ErrorKind, Write as _},
    net::TcpStream,
};

use kv::resp::reply;
use redis::{Commands as _, Connection, RedisResult};
use tests::{
    cluster::Cluster,
    process::{PATIENCE, eventually, raise_file_limit},
};

const MIB: u64 = 1024 * 1024;
/// What all connections together may hold.
const BOUND: u64 = 64 * MIB;
const KEYS: usize = 4_000;
const CLIENTS: usize = 400;

/// What a new connection is answered. A node that a busy machine let stand still closes connections, so this one
/// is made until it is answered.
fn ask<T>(cluster: &Cluster, question: impl Fn(&mut Connection) -> RedisResult<T>) -> T {
    let client = redis::Client::open(format!("redis://{}", cluster.address(0))).unwrap();
    eventually("an answer", || {
        question(&mut client.get_connection_with_timeout(PATIENCE).ok()?).ok()
    })
}

/// A number of INFO.
fn told(cluster: &Cluster, name: &str) -> u64 {
    let info: String = ask(cluster, |connection| redis::cmd("INFO").query(connection));
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.expect("a line").parse().expect("a number")
}

/// Sends as much as is taken at once.
fn send_some(mut stream: &TcpStream, bytes: &[u8]) {
    stream.set_nonblocking(true).unwrap();
    match stream.write(bytes) {
        Ok(_) => {}
        // Those that hold the most are closed.
        Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionReset) => {}
        Err(why) => panic!("{why}"),
    }
}

/// Found by a user: 400 clients that did not read their answers grew a node to 523 MB, of which 435 MB
/// stayed when all of them were gone.
#[test]
fn answers_that_nobody_takes_are_bounded_and_their_memory_is_given_back() {
    raise_file_limit();
    let cluster = Cluster::start(1, &["--max-client-memory", &BOUND.to_string()]);
    let node = &cluster.nodes[0];
    let pairs: Vec<(String, String)> =
        (0..KEYS).map(|key| (format!("k{key}"), "v".repeat(200))).collect();
    let () = ask(&cluster, |connection| connection.mset(&pairs));
    let before = node.memory();
    let words: Vec<&str> =
        ["MGET"].into_iter().chain(pairs.iter().map(|(key, _)| key.as_str())).collect();
    let mut question = Vec::new();
    reply::command(&mut question, &words);
    let questions = question.repeat(5);

    let clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let stream = cluster.stream(0);
            send_some(&stream, &questions);
            stream
        })
        .collect();
    eventually("clients that do not read are closed", || {
        // Those that read are served all the while.
        let value: String = ask(&cluster, |connection| connection.get("k1"));
        assert_eq!(value.len(), 200);
        (told(&cluster, "evicted_clients") > 0).then_some(())
    });
    // Until all have been asked as much as they may: what comes is one question of our own.
    eventually("all questions are asked", || {
        let commands = || told(&cluster, "total_commands_processed");
        let (before, after) = (commands(), commands());
        // A new connection of the client sends two commands more.
        (after <= before + 3).then_some(())
    });
    let held = told(&cluster, "client_memory");
    assert!(held <= BOUND, "{held} bytes are held");
    node.logs("(--max-client-memory)");
    // The allocator's habits, and what is on its way when the bound is reached, are as much again.
    let peak = node.peak_memory();
    assert!(peak < before + 3 * BOUND, "memory went from {before} to {peak} bytes");

    drop(clients);
    eventually("all clients are gone", || (told(&cluster, "connected_clients") == 1).then_some(()));
    // The allocator looks at what it could give back when it is asked for more.
    eventually("memory is given back while others work", || {
        for _ in 0..20 {
            let _: Vec<String> = ask(&cluster, |connection| connection.mget(&words[1..100]));
        }
        (node.memory() < before + BOUND / 2).then_some(())
    });
    assert!(told(&cluster, "client_memory") < MIB);
}
