//! Real processes, driven by a stock client: what is served, and what bad input gets.

use redis::{Commands as _, Connection};
use tests::{
    cluster::{Cluster, local, ports_in_a_row},
    process::Process,
};

/// The text of the error that a command gets.
fn error(connection: &mut Connection, words: &[&[u8]]) -> String {
    let mut command = redis::cmd(std::str::from_utf8(words[0]).unwrap());
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query::<redis::Value>(connection).unwrap_err().to_string()
}

#[test]
fn what_is_written_through_one_node_is_read_through_any() {
    let cluster = Cluster::start(3, &[]);
    let mut connections: Vec<Connection> = (0..3).map(|node| cluster.connect(node)).collect();
    for round in 0..30 {
        let (key, value) = (format!("key{round}"), format!("value{round}"));
        let () = connections[round % 3].set(&key, &value).unwrap();
        for connection in &mut connections {
            assert_eq!(connection.get::<_, String>(&key).unwrap(), value);
        }
    }
    let [one, two, three] = &mut connections[..] else { unreachable!() };
    let () = one.set("", "").unwrap();
    assert_eq!(two.get::<_, Option<String>>("").unwrap().as_deref(), Some(""));
    assert_eq!(three.del::<_, usize>(&["", "key1", "none", "key1"]).unwrap(), 2);
    assert_eq!(one.exists::<_, usize>(&["", "key1", "key2", "key2"]).unwrap(), 2);
    let () = two.mset(&[("a", "1"), ("b", "2")]).unwrap();
    let values: Vec<Option<String>> = three.mget(&["a", "none", "b"]).unwrap();
    assert_eq!(values, [Some("1".into()), None, Some("2".into())]);
    assert_eq!(one.strlen::<_, usize>("a").unwrap(), 1);
}

#[test]
fn every_size_of_cluster_serves() {
    for (nodes, replication) in [(1, "1"), (2, "2"), (3, "1"), (4, "4"), (5, "3")] {
        let cluster = Cluster::start(nodes, &["--replication", replication]);
        for node in 0..nodes {
            let () = cluster.connect(node).set(format!("k{node}"), node).unwrap();
        }
        let keys: Vec<String> = (0..nodes).map(|node| format!("k{node}")).collect();
        for node in 0..nodes {
            let found: Vec<u16> = cluster.connect(node).mget(&keys).unwrap();
            assert_eq!(found, (0..nodes).collect::<Vec<_>>(), "{nodes} nodes, R = {replication}");
        }
    }
}

#[test]
fn bad_input_gets_an_error_that_names_the_limit_and_nothing_is_written() {
    let cluster = Cluster::start(1, &[]);
    let mut connection = cluster.connect(0);
    let (key, value) = ("k".repeat(51), "v".repeat(201));
    let bad: &[&[&[u8]]] = &[
        &[b"SET", key.as_bytes(), b"v"],
        &[b"SET", b"k", value.as_bytes()],
        &[b"SET", b"k", b"\xff\xfe"],
        &[b"SET", b"\xff", b"v"],
        &[b"SET", b"k"],
        &[b"SET", b"k", b"v", b"NX"],
        &[b"SET", b"k", b"v", b"EX", b"10"],
        &[b"MSET", b"k", b"v", b"k2"],
        &[b"GET", b"k", b"k"],
        &[b"INCR", b"k"],
        &[b"CONSISTENCY", b"READ", b"two"],
        &[b"CONSISTENCY", b"SCAN", b"one"],
        &[b"SELECT", b"1"],
        &[b"HELLO", b"9"],
        &[b"CONFIG", b"SET", b"save", b""],
        &[b"CONFIG", b"RESETSTAT", b""],
        &[b"MSET", b"k", b"v", b"k2", value.as_bytes()],
        &[b"MGET"],
        &[b"CONSISTENCY", b"WRITE"],
    ];
    let mut report = String::new();
    for words in bad {
        let shown = |word: &&[u8]| String::from_utf8_lossy(&word[..word.len().min(8)]).into_owned();
        let line = words.iter().map(shown).collect::<Vec<_>>().join(" ");
        report.push_str(&format!("{line}\n    {}\n", error(&mut connection, words)));
    }
    insta::assert_snapshot!(report);
    assert_eq!(redis::cmd("DBSIZE").query::<usize>(&mut connection).unwrap(), 0);
    let () = connection.set("k".repeat(50), "v".repeat(200)).unwrap();
    let () = connection.set("é".repeat(50), "é".repeat(200)).unwrap();
    assert_eq!(redis::cmd("DBSIZE").query::<usize>(&mut connection).unwrap(), 2);
}

#[test]
fn levels_are_chosen_per_connection_and_reset() {
    let cluster = Cluster::start(3, &["--default-write", "all"]);
    let (mut one, mut other) = (cluster.connect(0), cluster.connect(0));
    let show = |connection: &mut Connection| -> Vec<String> {
        redis::cmd("CONSISTENCY").query(connection).unwrap()
    };
    let () = redis::cmd("CONSISTENCY").arg("READ").arg("ONE").query(&mut one).unwrap();
    assert_eq!(show(&mut one), ["read", "one", "write", "all"]);
    assert_eq!(show(&mut other), ["read", "quorum", "write", "all"]);
    let () = redis::cmd("RESET").query(&mut one).unwrap();
    assert_eq!(show(&mut one), ["read", "quorum", "write", "all"]);
}

#[test]
fn a_node_of_another_cluster_is_refused_with_a_reason() {
    let cluster = Cluster::start(2, &[]);
    let port = ports_in_a_row(1);
    let (client, peer) = (local(port).to_string(), local(port + 10_000).to_string());
    let list = format!("{},{},{peer}", cluster.peer_address(0), cluster.peer_address(1));
    let args = ["serve", "--client", &client, "--peer", &peer, "--initial-cluster", &list];
    let mut stranger = Process::start("stranger", &args.map(String::from));
    stranger.logs("it refuses us: they belong to different clusters");
    cluster.nodes[0].logs("refused: they belong to different clusters");
    assert!(stranger.printed("ready ").is_none(), "it serves");
    assert!(!stranger.log().contains('\u{1b}'), "a file has no colours");
    let () = cluster.connect(0).set("a", "b").unwrap();
    assert_eq!(cluster.connect(1).get::<_, String>("a").unwrap(), "b");
}
