//! Clients and peers that send nonsense, too much, or nothing: they get clear errors, cost little memory
//! and harm nobody.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use kv::{
    core::{
        ring::{RING_SIZE, Ring},
        types::NodeId,
    },
    resp::reply,
    wire::{self, Greeting, Hello, PROTOCOL, Purpose, Refusal, Welcome},
};
use redis::{Commands as _, Connection};
use tests::{
    cluster::{Cluster, read_all, stream, write_until_stuck},
    process::{eventually, raise_file_limit},
};

/// Memory may grow by buffers and by the allocator's habits, and not by what others claim or send.
const SLACK: u64 = 64 * 1024 * 1024;

/// Sees that a node serves others all the while, and that its memory stays flat.
struct Witness<'a> {
    cluster: &'a Cluster,
    connection: Connection,
    before: u64,
}

impl<'a> Witness<'a> {
    /// A witness at n1.
    fn of(cluster: &'a Cluster) -> Self {
        let mut connection = cluster.connect(0);
        let () = connection.set("witness", "w".repeat(200)).unwrap();
        Self { cluster, connection, before: cluster.nodes[0].memory() }
    }

    fn all_is_well(&mut self) {
        let found: String = self.connection.get("witness").unwrap();
        assert_eq!(found, "w".repeat(200));
        let () = self.connection.set("witness", found).unwrap();
        let (before, peak) = (self.before, self.cluster.nodes[0].peak_memory());
        assert!(peak < before + SLACK, "memory went from {before} to {peak} bytes");
    }
}

/// Ten megabytes that mean nothing.
fn garbage() -> Vec<u8> {
    let byte = |n: u32| n.wrapping_mul(2_654_435_761).to_le_bytes()[3] | 0x80;
    (0..10 * 1024 * 1024).map(byte).collect()
}

/// Sends bytes whose end the node may not wait for: what it answers until it closes.
fn answer_to(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let _ = stream.write_all(bytes);
    read_all(&stream)
}

#[test]
fn a_length_that_is_declared_is_not_believed() {
    let cluster = Cluster::start(3, &[]);
    let mut witness = Witness::of(&cluster);
    for (bytes, why) in [
        (
            &b"*2\r\n$3\r\nGET\r\n$1073741824\r\n"[..],
            "-ERR Protocol error: bulk length 1073741824 is over the limit of 536870912\r\n",
        ),
        (
            b"*2147483648\r\n",
            "-ERR Protocol error: multibulk length 2147483648 is over the limit of 2147483647\r\n",
        ),
        (b"*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n:5\r\n", "-ERR Protocol error: expected '$', got ':'\r\n"),
    ] {
        let answer = answer_to(cluster.stream(0), bytes);
        assert_eq!(String::from_utf8_lossy(&answer), why);
    }
    witness.all_is_well();
}

#[test]
fn a_command_that_is_cut_in_the_middle_is_not_done() {
    let cluster = Cluster::start(3, &[]);
    let mut witness = Witness::of(&cluster);
    let mut whole = Vec::new();
    reply::command(&mut whole, &["SET", "cut", "value"]);
    for cut in 1..whole.len() {
        let mut stream = cluster.stream(0);
        stream.write_all(&whole[..cut]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read_all(&stream), b"", "an answer to {cut} bytes of a command");
    }
    assert_eq!(cluster.connect(1).get::<_, Option<String>>("cut").unwrap(), None);
    witness.all_is_well();
}

#[test]
fn garbage_from_a_client_gets_an_error() {
    let cluster = Cluster::start(3, &[]);
    let mut witness = Witness::of(&cluster);
    let answer = answer_to(cluster.stream(0), &garbage());
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("-ERR Protocol error: inline length "), "{answer}");
    assert!(answer.ends_with(" is over the limit of 65536\r\n"), "{answer}");
    witness.all_is_well();
}

#[test]
fn garbage_from_a_peer_is_refused_with_a_reason_in_the_log() {
    let cluster = Cluster::start(3, &[]);
    let mut witness = Witness::of(&cluster);
    assert_eq!(answer_to(stream(cluster.peer_address(0)), &garbage()), b"");
    cluster.nodes[0].logs("is over the limit of");
    // A frame of a good length.
    let mut bytes = 16u32.to_le_bytes().to_vec();
    bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
    let answer = answer_to(stream(cluster.peer_address(0)), &bytes);
    assert_eq!(welcome(&answer), Welcome::Refused(Refusal::NotOrrery));
    cluster.nodes[0].logs("refused: it does not speak Orrery's peer protocol");
    // A frame that never ends.
    let mut stream = stream(cluster.peer_address(0));
    stream.write_all(&bytes[..10]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(&stream), b"");
    cluster.nodes[0].logs("it ended in the middle of a frame");
    witness.all_is_well();
}

fn welcome(bytes: &[u8]) -> Welcome {
    let (frame, used) = wire::frame(bytes).unwrap().expect("a whole frame");
    assert_eq!(used, bytes.len());
    wire::decode(frame).unwrap()
}

#[test]
fn a_peer_that_is_older_or_not_who_it_says_is_refused_with_a_reason() {
    let cluster = Cluster::start(2, &[]);
    let mut witness = Witness::of(&cluster);
    let addresses: Vec<String> = (0..2).map(|n| cluster.peer_address(n).to_string()).collect();
    let ours = Ring::form(&addresses, 3, RING_SIZE).unwrap().cluster();
    let theirs = Ring::form(&addresses, 1, RING_SIZE).unwrap().cluster();
    let second = addresses[1].clone();
    let hello = |cluster, from, to| {
        let (from, to, address) = (NodeId(from), NodeId(to), second.clone());
        Greeting::new(Purpose::Link(Hello {
            cluster,
            from,
            to,
            instance: 5,
            address,
            client: "127.0.0.1:1".into(),
        }))
    };
    let mut older = hello(ours, 2, 1);
    older.protocol -= 1;
    let mut elsewhere = hello(ours, 2, 1);
    if let Purpose::Link(hello) = &mut elsewhere.purpose {
        hello.address = "elsewhere:1".into();
    }
    for (greeting, refusal, reason) in [
        (older, Refusal::Protocol(PROTOCOL), "it speaks another version of the peer protocol"),
        (hello(theirs, 2, 1), Refusal::Cluster(ours), "they belong to different clusters"),
        (hello(ours, 9, 2), Refusal::Identity, "its id, ours or its address"),
        (hello(ours, 1, 1), Refusal::Identity, "its id, ours or its address"),
        (elsewhere, Refusal::Identity, "its id, ours or its address"),
        (hello(ours, 2, 1), Refusal::Restarted, "it is a restarted process"),
        // Of all that is wrong, this is what it has to know.
        (hello(ours, 2, 2), Refusal::Restarted, "it is a restarted process"),
    ] {
        let mut bytes = Vec::new();
        wire::encode(&greeting, &mut bytes);
        let answer = answer_to(stream(cluster.peer_address(0)), &bytes);
        assert_eq!(welcome(&answer), Welcome::Refused(refusal), "{greeting:?}");
        cluster.nodes[0].logs(&format!("refused: {reason}"));
    }
    witness.all_is_well();
}

#[test]
fn peers_that_say_nothing_are_closed() {
    let cluster = Cluster::start(1, &[]);
    let mut witness = Witness::of(&cluster);
    let silent: Vec<TcpStream> = (0..100).map(|_| stream(cluster.peer_address(0))).collect();
    for stream in silent {
        assert_eq!(read_all(&stream), b"");
    }
    cluster.nodes[0].logs("no greeting came in time");
    witness.all_is_well();
}

#[test]
fn ten_thousand_pipelined_commands_are_answered_in_order() {
    let cluster = Cluster::start(3, &[]);
    let mut witness = Witness::of(&cluster);
    let (mut bytes, mut expected) = (Vec::new(), String::new());
    for number in 0..5_000 {
        let (key, value) = (format!("k{}", number % 7), format!("v{number}"));
        reply::command(&mut bytes, &["SET", &key, &value]);
        reply::command(&mut bytes, &["GET", &key]);
        expected.push_str(&format!("+OK\r\n${}\r\n{value}\r\n", value.len()));
    }
    let mut stream = cluster.stream(0);
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    let mut found = vec![0; expected.len()];
    stream.read_exact(&mut found).unwrap();
    writing.join().unwrap();
    assert!(String::from_utf8(found).unwrap() == expected, "each GET sees the SET before it");
    witness.all_is_well();
}

#[test]
fn a_client_that_does_not_read_its_answers_is_not_read_either() {
    let cluster = Cluster::start(3, &[]);
    let mut witness = Witness::of(&cluster);
    // An answer is fifteen times as long as its question.
    let questions = b"GET witness\r\n".repeat(800_000);
    let stream = cluster.stream(0);
    let taken = write_until_stuck(&stream, &questions);
    assert!(taken < questions.len(), "the node took everything");
    witness.all_is_well();
}

#[test]
fn two_thousand_connections_at_once_are_served() {
    let cluster = Cluster::start(3, &[]);
    let mut witness = Witness::of(&cluster);
    raise_file_limit();
    let mut streams: Vec<TcpStream> = (0..2_000).map(|_| cluster.stream(0)).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        write!(stream, "SET k{number} {number:04}\r\nGET k{number}\r\n").unwrap();
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        let expected = format!("+OK\r\n$4\r\n{number:04}\r\n");
        let mut found = vec![0; expected.len()];
        stream.read_exact(&mut found).unwrap();
        assert_eq!(String::from_utf8_lossy(&found), expected);
    }
    witness.all_is_well();
}

#[test]
fn more_connections_than_allowed_are_told_so() {
    let cluster = Cluster::start(1, &["--max-clients", "1"]);
    let mut first = cluster.connect(0);
    assert_eq!(redis::cmd("PING").query::<String>(&mut first).unwrap(), "PONG");
    let answer = read_all(&cluster.stream(0));
    let why = "-ERR max number of clients reached\r\n";
    assert_eq!(String::from_utf8_lossy(&answer), why);
    drop(first);
    eventually("a place", || {
        let mut stream = cluster.stream(0);
        stream.write_all(b"PING\r\n").ok()?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).ok()?;
        (&answer == b"+PONG\r\n").then_some(())
    });
}
