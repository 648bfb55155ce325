//! A log that cannot be written is in nobody's way: the node serves, answers and ends as if it were read.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, PipeReader, PipeWriter, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use rustix::process::Signal;
use tests::{
    cluster::{Cluster, ask, local, ports_in_a_row, read_all, stream},
    process::{Process, binary, eventually, orrery},
};

/// A pipe that is full, and that nobody reads as long as the reader is only kept.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let line = [b"nobody reads this".as_slice(), &[b'.'; 46], b"\n"].concat();
    loop {
        match writer.write(&line) {
            Ok(_) => {}
            Err(why) if why.kind() == ErrorKind::WouldBlock => break,
            Err(why) => panic!("a pipe cannot be filled: {why}"),
        }
    }
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

fn full_disk() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

fn closed_pipe() -> PipeWriter {
    std::io::pipe().unwrap().1
}

/// A lone node that logs there, once it serves.
fn node_with_errors_to(errors: Stdio) -> (Process, u16) {
    let port = ports_in_a_row(1);
    let (client, peer) = (local(port).to_string(), local(port + 10_000).to_string());
    let args = ["serve", "--client", &client, "--peer", &peer].map(String::from);
    let mut node = Process::start_with_errors_to("a node without a log", &args, errors);
    assert!(node.line("ready ").is_some(), "it ended");
    (node, port)
}

/// Peers that are none, at a port for peers. A node that hangs does not close them.
fn storm_of_peers(port: u16, count: usize) {
    for _ in 0..count {
        let mut peer = stream(local(port));
        let _ = peer.write_all(b"GET / HTTP/1.1\r\n\r\n");
        let _ = peer.shutdown(Shutdown::Write);
        read_all(&peer);
    }
}

/// Clients that send nonsense.
fn storm_of_clients(port: u16, count: usize) {
    for _ in 0..count {
        let mut client = stream(local(port));
        let _ = client.write_all(b"*-1\r\n*x\r\n");
        read_all(&client);
    }
}

/// The node lives through a storm of bad peers and clients, and ends when it is asked to.
fn lives(port: u16) {
    let client = stream(local(port));
    thread::scope(|scope| {
        scope.spawn(|| storm_of_peers(port + 10_000, 1_000));
        scope.spawn(|| storm_of_clients(port, 300));
        for number in 0..300 {
            let commands = format!("SET k{number} {number}\r\nGET k{number}\r\n");
            assert_eq!(ask(&client, &commands), ["+OK".to_string(), number.to_string()]);
        }
    });
    assert_eq!(ask(&client, "GET k7\r\n"), ["7"]);
}

fn ends(mut node: Process) {
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0));
}

/// How many lines of the log a node says that it lost.
fn lost(port: u16) -> u64 {
    let info = ask(&stream(local(port)), "INFO\r\n").remove(0);
    let line = info.lines().find_map(|line| line.strip_prefix("log_lines_dropped:"));
    line.expect("INFO counts them").parse().unwrap()
}

#[test]
fn a_log_on_a_full_disk_ends_no_node_and_its_lines_are_counted() {
    let (node, port) = node_with_errors_to(full_disk().into());
    lives(port);
    assert!(lost(port) > 0);
    ends(node);
}

#[test]
fn a_log_that_somebody_closed_ends_no_node_and_its_lines_are_counted() {
    let (node, port) = node_with_errors_to(closed_pipe().into());
    lives(port);
    assert!(lost(port) > 0);
    ends(node);
}

#[test]
fn a_log_that_nobody_reads_holds_no_node_up_not_even_at_its_end() {
    let (reader, writer) = full_pipe();
    let (node, port) = node_with_errors_to(writer.into());
    lives(port);
    ends(node);
    drop(reader);
}

#[test]
fn what_waited_for_a_reader_is_there_when_one_comes() {
    let (mut reader, writer) = full_pipe();
    let (node, port) = node_with_errors_to(writer.into());
    lives(port);
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text).unwrap()
    });
    // It reads until the node is gone.
    ends(node);
    let text = reading.join().unwrap();
    assert!(text.contains("serves clients at"), "{text}");
    assert!(text.contains("ending; "), "{text}");
}

#[test]
fn an_output_that_nobody_reads_or_that_is_full_ends_no_node() {
    let (reader, writer) = full_pipe();
    for output in [Stdio::from(full_disk()), closed_pipe().into(), writer.into()] {
        let port = ports_in_a_row(1);
        let mut node = Command::new(binary())
            .args(["serve", "--in-memory", "--client", &local(port).to_string()])
            .args(["--peer", &local(port + 10_000).to_string()])
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("it serves", || {
            let mut stream = TcpStream::connect(local(port)).ok()?;
            stream.write_all(b"SET a b\r\n").ok()?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).ok()?;
            (&answer == b"+OK\r\n").then_some(())
        });
        let id = rustix::process::Pid::from_child(&node);
        rustix::process::kill_process(id, Signal::TERM).unwrap();
        let code = eventually("it ends", || node.try_wait().unwrap()).code();
        assert_eq!(code, Some(0));
    }
    drop(reader);
}

#[test]
fn a_cluster_for_development_lives_on_when_nobody_reads_its_addresses() {
    let (reader, writer) = full_pipe();
    for output in [Stdio::from(full_disk()), closed_pipe().into(), writer.into()] {
        let port = ports_in_a_row(2);
        let mut dev = Command::new(binary())
            .args(["dev", "--nodes", "2", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("it serves", || {
            let mut stream = TcpStream::connect(local(port + 1)).ok()?;
            stream.write_all(b"SET a b\r\n").ok()?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).ok()?;
            (&answer == b"+OK\r\n").then_some(())
        });
        // It has said what it has to say, or tried to, once it listens to a signal.
        let id = rustix::process::Pid::from_child(&dev);
        rustix::process::kill_process(id, Signal::INT).unwrap();
        let code = eventually("it ends", || dev.try_wait().unwrap()).code();
        assert_eq!(code, Some(0));
    }
    drop(reader);
}

#[test]
fn why_a_node_cannot_start_is_told_to_whoever_reads_and_holds_nobody_up() {
    let (reader, writer) = full_pipe();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let port = ports_in_a_row(1);
    let args = ["serve", "--client", &at, "--peer", &local(port + 10_000).to_string()];
    let (code, _, why) = orrery(&args);
    assert_eq!(code, Some(1));
    assert!(why.contains("error: cannot listen for clients at"), "{why}");
    let args = args.map(String::from);
    let mut node = Process::start_with_errors_to("a node without a port", &args, writer.into());
    assert_eq!(node.wait().code(), Some(1));
    drop(reader);
}

#[test]
fn each_cause_is_logged_once_a_second_with_a_count() {
    let cluster = Cluster::start(1, &[]);
    let (started, port) = (Instant::now(), cluster.peer_address(0).port());
    storm_of_peers(port, 2_000);
    let is_told = |line: &&str| line.contains("is closed: ");
    let more = |line: &str| -> u64 {
        let count = line.split("… and ").nth(1).and_then(|rest| rest.split(' ').next());
        count.map_or(1, |count| count.parse().expect("a number"))
    };
    let log = eventually("all are counted", || {
        let log = cluster.nodes[0].log();
        let all: u64 = log.lines().filter(is_told).map(more).sum();
        (all == 2_000).then_some(log)
    });
    // One at once and one at the end of each second, of one cause.
    let lines = log.lines().filter(is_told).count();
    let most = started.elapsed().as_secs() + 2;
    assert!(lines as u64 <= most, "{lines} lines within {most} s:\n{log}");
}
