//! Real processes, driven by a stock client: what is served, and what bad input gets.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
};

use redis::{Commands as _, Connection};
use rustix::process::Signal;
use tests::cluster::{Cluster, Process, binary, connect, eventually, free_ports, stream};

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
    for (nodes, replication) in [(1, "1"), (2, "2"), (3, "1"), (4, "4")] {
        let cluster = Cluster::start(nodes, &["--replication", replication]);
        for node in 0..nodes {
            let () = cluster.connect(node).set(format!("k{node}"), "v").unwrap();
        }
        let keys: Vec<String> = (0..nodes).map(|node| format!("k{node}")).collect();
        assert_eq!(cluster.connect(nodes - 1).exists::<_, usize>(&keys).unwrap(), nodes);
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

fn read_all(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is the peer's way to say that it did not read everything.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Memory may grow by buffers and by the allocator's habits, and not by what clients claim.
const SLACK: u64 = 64 * 1024 * 1024;

#[test]
fn hostile_connections_get_errors_and_harm_nobody() {
    let cluster = Cluster::start(3, &[]);
    let mut witness = cluster.connect(0);
    let () = witness.set("witness", "0").unwrap();
    let before = cluster.nodes[0].memory();

    let mut huge = cluster.stream(0);
    huge.write_all(b"*2\r\n$3\r\nGET\r\n$1073741824\r\n").unwrap();
    assert!(read_all(huge).contains("bulk length 1073741824 is over the limit of 65536"));

    let mut cut = cluster.stream(0);
    cut.write_all(b"*3\r\n$3\r\nSET\r\n$3\r\ncut\r\n$10\r\nhal").unwrap();
    drop(cut);

    // Ten megabytes that mean nothing, to clients' and to peers' ports.
    let garbage: Vec<u8> = (0..10 * 1024 * 1024u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3] | 0x80)
        .collect();
    for address in [cluster.address(0), cluster.peer_address(0)] {
        let mut stream = stream(address);
        let written = stream.write_all(&garbage);
        let answer = read_all(stream);
        let is_client = address == cluster.address(0);
        assert!(!is_client || answer.contains("Protocol error") || written.is_err(), "{answer:?}");
    }
    eventually("a log line about the garbage", || {
        cluster.nodes[0].log().contains("is over the limit").then_some(())
    });

    let after = cluster.nodes[0].memory();
    assert!(after < before + SLACK, "memory went from {before} to {after}");
    assert_eq!(witness.get::<_, String>("witness").unwrap(), "0");
    assert_eq!(witness.get::<_, Option<String>>("cut").unwrap(), None);
}

#[test]
fn ten_thousand_pipelined_commands_are_answered_in_order() {
    let cluster = Cluster::start(3, &[]);
    let before = cluster.nodes[0].memory();
    let mut bytes = Vec::new();
    for number in 0..5_000 {
        let key = format!("k{}", number % 7);
        kv::resp::reply::command(&mut bytes, &["SET", &key, &format!("v{number}")]);
        kv::resp::reply::command(&mut bytes, &["GET", &key]);
    }
    let stream = cluster.stream(0);
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    let mut expected = String::new();
    for number in 0..5_000 {
        let value = format!("v{number}");
        expected.push_str(&format!("+OK\r\n${}\r\n{value}\r\n", value.len()));
    }
    let mut found = vec![0; expected.len()];
    (&stream).read_exact(&mut found).unwrap();
    writing.join().unwrap();
    assert!(String::from_utf8(found).unwrap() == expected, "each GET sees the SET before it");
    let after = cluster.nodes[0].memory();
    assert!(after < before + SLACK, "memory went from {before} to {after}");
}

#[test]
fn two_thousand_connections_at_once_are_served() {
    let cluster = Cluster::start(1, &[]);
    let before = cluster.nodes[0].memory();
    raise_file_limit();
    let mut streams: Vec<TcpStream> = (0..2_000).map(|_| cluster.stream(0)).collect();
    for stream in &mut streams {
        stream.write_all(b"PING\r\n").unwrap();
    }
    for stream in &mut streams {
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+PONG\r\n");
    }
    let after = cluster.nodes[0].memory();
    assert!(after < before + SLACK, "memory went from {before} to {after}");
}

fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[test]
fn more_connections_than_allowed_are_told_so() {
    let cluster = Cluster::start(1, &["--max-clients", "1"]);
    let mut first = cluster.connect(0);
    assert_eq!(redis::cmd("PING").query::<String>(&mut first).unwrap(), "PONG");
    assert!(read_all(cluster.stream(0)).contains("max number of clients reached, the limit is 1"));
    drop(first);
    eventually("a place", || {
        let mut stream = cluster.stream(0);
        stream.write_all(b"PING\r\n").ok()?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).ok()?;
        (&answer == b"+PONG\r\n").then_some(())
    });
}

#[test]
fn a_node_that_is_asked_to_end_answers_what_is_under_way_and_exits_with_0() {
    let mut cluster = Cluster::start(3, &[]);
    let mut connection = cluster.connect(0);
    let () = connection.set("a", "b").unwrap();
    cluster.nodes[0].signal(Signal::TERM);
    assert_eq!(cluster.nodes[0].wait().code(), Some(0));
    assert_eq!(cluster.connect(1).get::<_, String>("a").unwrap(), "b");
}

#[test]
fn a_node_of_another_cluster_is_refused_with_a_reason() {
    let cluster = Cluster::start(2, &[]);
    let [client, third] = free_ports(2)[..] else { unreachable!() };
    let list = format!("{},{},127.0.0.1:{third}", cluster.peer_address(0), cluster.peer_address(1));
    let args = ["serve", "--client", &format!("127.0.0.1:{client}"), "--peer"];
    let mut args: Vec<String> = args.iter().map(ToString::to_string).collect();
    args.extend([format!("127.0.0.1:{third}"), "--initial-cluster".into(), list]);
    let stranger = Process::start("stranger", &args);
    eventually("a reason in both logs", || {
        let theirs = stranger.log().contains("it refuses us: it belongs to another cluster");
        let ours = cluster.nodes[0].log().contains("refused: it belongs to another cluster");
        (theirs && ours).then_some(())
    });
    let () = cluster.connect(0).set("a", "b").unwrap();
}

fn orrery(args: &[&str]) -> (Option<i32>, String, String) {
    let done = Command::new(binary()).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[test]
fn the_command_line_says_with_its_exit_code_how_it_went() {
    let cluster = Cluster::start(1, &[]);
    let at = cluster.address(0).to_string();
    let run = |words: &[&str]| {
        let (code, out, _) = orrery(&[words, &["--connect", &at]].concat());
        (code, out.trim().to_string())
    };
    assert_eq!(run(&["put", "a", "b", "--level", "all"]), (Some(0), "OK".into()));
    assert_eq!(run(&["get", "a"]), (Some(0), "b".into()));
    assert_eq!(run(&["get", "a", "--json"]), (Some(0), r#"{"key":"a","value":"b"}"#.into()));
    assert_eq!(run(&["get", "none"]), (Some(1), String::new()));
    assert_eq!(run(&["del", "a"]), (Some(0), "deleted".into()));
    assert_eq!(run(&["del", "a"]), (Some(1), "absent".into()));
    assert_eq!(run(&["get", &"k".repeat(51)]).0, Some(1));
    let (code, status) = run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((code, &status["node"], &status["records"]), (Some(0), &"n1".into(), &1.into()));
    assert_eq!(orrery(&["get"]).0, Some(2));
    assert_eq!(orrery(&["get", "a", "--level", "two"]).0, Some(2));
    assert_eq!(orrery(&["serve", "--unknown"]).0, Some(2));
    let nobody = format!("127.0.0.1:{}", free_ports(1)[0]);
    let (code, _, why) = orrery(&["get", "a", "--connect", &nobody]);
    assert_eq!(code, Some(1));
    assert!(why.contains("is a node there?"), "{why}");
}

#[test]
fn a_peer_address_that_is_no_member_is_refused() {
    let args = ["serve", "--peer", "127.0.0.1:1", "--initial-cluster", "127.0.0.1:2"];
    let (code, _, why) = orrery(&args);
    assert_eq!(code, Some(1));
    assert!(why.contains("--peer 127.0.0.1:1 is not one of --initial-cluster"), "{why}");
}

/// A first port for `dev`: the next ones, and those 10000 above, are free most likely.
fn dev_port() -> u16 {
    eventually("free ports in a row", || {
        let port = free_ports(1)[0] % 20_000 + 20_000;
        let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        (0..3).all(|n| free(port + n) && free(port + 10_000 + n)).then_some(port)
    })
}

fn start_dev(port: u16) -> Process {
    let args = ["dev", "--nodes", "3", "--port", &port.to_string()].map(String::from);
    let dev = Process::start("dev", &args);
    dev.line("3 nodes");
    dev
}

fn nobody_listens(port: u16) {
    for port in port..port + 3 {
        eventually("the end of all nodes", || {
            TcpStream::connect(("127.0.0.1", port)).is_err().then_some(())
        });
    }
}

#[test]
fn dev_runs_a_cluster_and_ctrl_c_ends_all_of_it() {
    let port = dev_port();
    let mut dev = start_dev(port);
    let at = |node: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port + node));
    let () = connect(at(0)).set("a", "b").unwrap();
    assert_eq!(connect(at(2)).get::<_, String>("a").unwrap(), "b");
    let (code, _, why) = orrery(&["dev", "--port", &port.to_string()]);
    assert_eq!(code, Some(1));
    assert!(why.contains("is taken"), "{why}");
    dev.signal(Signal::INT);
    assert_eq!(dev.wait().code(), Some(0));
    nobody_listens(port);
}

#[test]
fn dev_that_is_killed_leaves_no_node_behind() {
    let port = dev_port();
    let mut dev = start_dev(port);
    dev.kill();
    nobody_listens(port);
}
