//! Clients at a node that does not serve yet, and clients and peers at one that has no room for them.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use redis::Commands as _;
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use tests::{
    cluster::{Cluster, ask, local, ports_in_a_row, read_all, stream},
    process::{Process, eventually, orrery},
    rings::serves,
};

/// A connection to a node that may not listen yet.
fn come_to(cluster: &Cluster, node: u16) -> TcpStream {
    eventually("it listens", || TcpStream::connect(cluster.address(node)).ok());
    stream(cluster.address(node))
}

/// What a client asks before its first request, and requests about data.
const OPENING: &str =
    "CLIENT SETINFO LIB-NAME x\r\nCLIENT SETNAME me\r\nSELECT 0\r\nPING\r\nCLIENT GETNAME\r\n";
const REQUESTS: &str = "SET a 1\r\nGET a\r\nDEL a\r\nMGET a b\r\nDBSIZE\r\nRING EVICT n2\r\n";

fn waits(client: &TcpStream) {
    assert_eq!(ask(client, OPENING), ["+OK", "+OK", "+OK", "+PONG", "me"]);
    for answer in ask(client, REQUESTS) {
        assert!(answer.starts_with("-LOADING ") && answer.contains("nothing was done"), "{answer}");
    }
    let info = ask(client, "INFO\r\n").remove(0);
    assert!(info.lines().any(|line| line == "loading:1"), "{info}");
}

/// Sees that a connection is served as soon as its node serves, and that it is the same connection.
fn is_served(client: &TcpStream) {
    eventually("the connection is served", || {
        let answer = ask(client, "SET a 2\r\n").remove(0);
        assert!(answer == "+OK" || answer.starts_with("-LOADING "), "{answer}");
        (answer == "+OK").then_some(())
    });
    assert_eq!(ask(client, "GET a\r\nCLIENT GETNAME\r\n"), ["2", "me"]);
    let info = ask(client, "INFO\r\n").remove(0);
    assert!(info.lines().any(|line| line == "loading:0"), "{info}");
}

#[test]
fn a_client_of_a_process_that_has_no_place_in_a_ring_yet_is_kept_and_served_once_it_has() {
    let cluster = Cluster::start(1, &[]);
    let mut joiner = cluster.joiner(1, 5);
    let client = come_to(&cluster, 1);
    waits(&client);
    let ring = ask(&client, "RING\r\n").remove(0);
    assert!(ring.starts_with("-ERR this process is not a member of a ring yet"), "{ring}");
    // Its only hope comes up.
    let mut hope = cluster.joiner(5, 0);
    serves(&mut hope);
    serves(&mut joiner);
    is_served(&client);
}

#[test]
fn a_client_of_a_node_whose_cluster_is_not_there_yet_is_kept_and_served_once_it_is() {
    let first = ports_in_a_row(3);
    let peers: Vec<String> = (0..3).map(|n| local(first + 10_000 + n).to_string()).collect();
    let start = |node: u16| {
        let (client, peer) = (local(first + node).to_string(), &peers[usize::from(node)]);
        let list = peers.join(",");
        let args = ["serve", "--client", &client, "--peer", peer, "--initial-cluster", &list];
        Process::start(&format!("n{}", node + 1), &args.map(String::from))
    };
    let _one = start(0);
    let client = eventually("it listens", || TcpStream::connect(local(first)).ok());
    drop(client);
    let client = stream(local(first));
    waits(&client);
    // It listens a moment before it has its place in the ring.
    eventually("it tells its ring", || {
        let ring = ask(&client, "RING\r\n").remove(0);
        assert!(!ring.contains("\"serves\": true"), "{ring}");
        ring.contains("\"serves\": false").then_some(())
    });
    let mut stock = tests::cluster::connect(local(first));
    let refused = stock.set::<_, _, ()>("b", 1).unwrap_err();
    assert!(refused.to_string().contains("nothing was done"), "{refused}");
    let _two = start(1);
    is_served(&client);
    // A stock client goes on with its connection too.
    let () = stock.set("b", 1).unwrap();
}

/// A node of its own cluster with few open files, and its address.
fn short_of_files(files: u32) -> (Process, u16) {
    let port = ports_in_a_row(2);
    let (client, peer) = (local(port).to_string(), local(port + 10_000).to_string());
    let args = ["serve", "--client", &client, "--peer", &peer].map(String::from);
    let mut node = Process::start_with_files("short of files", files, &args);
    serves(&mut node);
    (node, port)
}

#[test]
fn clients_beyond_the_limit_of_open_files_are_told_so_and_operators_and_peers_come_in() {
    let (node, port) = short_of_files(96);
    let address = local(port);
    node.logs("96 files may be open");
    // All come, and some stay.
    let mut served = Vec::new();
    for number in 0..200 {
        let mut client = stream(address);
        let _ = client.write_all(b"SET k v\r\n");
        let mut first = [0; 1];
        client.read_exact(&mut first).expect("an answer");
        match &first {
            b"+" => served.push(client),
            _ => {
                let rest = String::from_utf8(read_all(&client)).expect("text");
                assert_eq!(rest, "ERR max number of clients reached\r\n", "client {number}");
            }
        }
    }
    assert!((10..96).contains(&served.len()), "{} clients are served", served.len());
    // One that says nothing is not left in silence.
    assert_eq!(read_all(&stream(address)), b"-ERR max number of clients reached\r\n");
    // The operator's own commands.
    let at = address.to_string();
    let (code, status, why) = orrery(&["status", "--connect", &at]);
    assert_eq!(code, Some(0), "{why}");
    assert!(status.contains("rejected_connections"), "{status}");
    let (code, _, why) = orrery(&["ring", "--connect", &at]);
    assert_eq!(code, Some(0), "{why}");
    let (code, _, why) = orrery(&["get", "k", "--connect", &at]);
    assert_eq!(code, Some(1));
    assert!(why.contains("max number of clients reached"), "{why}");
    // A peer.
    let (client, peer) = (local(port + 1).to_string(), local(port + 10_001).to_string());
    let join = local(port + 10_000).to_string();
    let args = ["serve", "--client", &client, "--peer", &peer, "--join", &join];
    let mut joiner = Process::start("joiner", &args.map(String::from));
    assert_eq!(serves(&mut joiner), "n2");
    // Those who are in are served on.
    for client in &served {
        let mut client = client.try_clone().unwrap();
        let mut rest = [0; 4];
        client.read_exact(&mut rest).unwrap();
        assert_eq!(ask(&client, "GET k\r\n"), ["v"]);
    }
    let refused = node.log().lines().filter(|line| line.contains("a client is refused")).count();
    assert!((1..200).contains(&refused), "{refused} lines");
}

#[test]
fn a_process_that_is_out_of_file_descriptors_says_so_and_recovers() {
    let (mut node, port) = short_of_files(256);
    let client = stream(local(port));
    assert_eq!(ask(&client, "SET a 1\r\n"), ["+OK"]);
    // It counts on 256.
    let limit = |current| Rlimit { current: Some(current), maximum: Some(256) };
    prlimit(Some(node.id()), Resource::Nofile, limit(64)).unwrap();
    let (mut served, mut told) = (Vec::new(), 0);
    while told < 20 {
        let mut client = stream(local(port));
        let _ = client.write_all(b"PING\r\n");
        let mut answer = [0; 7];
        client.read_exact(&mut answer).expect("an answer");
        match &answer {
            b"+PONG\r\n" => served.push(client),
            _ => {
                assert_eq!(read_all(&client), b"x number of clients reached\r\n");
                told += 1;
            }
        }
        assert!(served.len() < 200, "there is no limit");
    }
    node.logs("a client connection cannot be taken: Too many open files");
    assert_eq!(ask(&client, "GET a\r\n"), ["1"], "those that are in are served on");
    prlimit(Some(node.id()), Resource::Nofile, limit(256)).unwrap();
    eventually("clients come in again", || {
        let mut stream = stream(local(port));
        stream.write_all(b"PING\r\n").ok()?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).ok()?;
        (&answer == b"+PONG\r\n").then_some(())
    });
    node.signal(Signal::TERM);
    assert!(node.wait().success());
}

#[test]
fn too_few_open_files_are_refused_with_a_reason() {
    let port = ports_in_a_row(1);
    let (client, peer) = (local(port).to_string(), local(port + 10_000).to_string());
    let args = ["serve", "--client", &client, "--peer", &peer].map(String::from);
    let mut node = Process::start_with_files("without files", 32, &args);
    assert_eq!(node.wait().code(), Some(1));
    let log = node.log();
    assert!(log.contains("at most 32 files may be open") && log.contains("at least 64"), "{log}");
}

#[test]
fn strangers_at_the_port_for_peers_do_not_take_the_places_of_clients() {
    let (node, port) = short_of_files(96);
    let silent: Vec<TcpStream> = (0..300).map(|_| stream(local(port + 10_000))).collect();
    node.logs("others have not said who they are");
    let mut client = tests::cluster::connect(local(port));
    let () = client.set("a", 1).unwrap();
    for stream in silent {
        assert_eq!(read_all(&stream), b"");
    }
}
