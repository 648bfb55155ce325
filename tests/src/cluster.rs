//! Clusters of real `orrery` processes, and ways to talk to them.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use redis::Connection;
use tempfile::TempDir;

use crate::process::{PATIENCE, Process, eventually};

/// A port that is free now may be taken a moment later: how often to try with others.
const ATTEMPTS: usize = 5;

/// Free ports in a row, and those 10,000 above them too. They lie below those that the system gives
/// to outgoing connections: a node that is not there yet cannot be met by a connection to itself.
pub fn ports_in_a_row(count: u16) -> u16 {
    const FIRST: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    eventually("free ports", || {
        // Test programs that run at the same time begin at different places.
        let place = NEXT.fetch_add(u32::from(count), Ordering::Relaxed)
            + std::process::id().wrapping_mul(131) % 10_000;
        let first = u16::try_from(FIRST + place % (FIRST - u32::from(count))).expect("a port");
        (first..first + count).all(|port| free(port) && free(port + 10_000)).then_some(first)
    })
}

/// A cluster of processes. Clients of n1, n2, … connect at ports in a row, peers 10,000 above.
pub struct Cluster {
    /// The nodes: n1, n2, …
    pub nodes: Vec<Process>,
    size: u16,
    first_port: u16,
    more: Vec<String>,
    /// Where the nodes keep their data, if they do.
    data: Option<TempDir>,
}

/// Ports that are kept for nodes that join a cluster.
const SPARE: u16 = 8;

impl Cluster {
    /// Starts nodes with these further arguments, and waits until all serve.
    pub fn start(size: u16, more: &[&str]) -> Self {
        let started = (0..ATTEMPTS).find_map(|_| Self::try_start(size, more, None));
        started.expect("ports that were free stay free for a moment")
    }

    /// The same, and each node keeps its data in a folder of its own.
    pub fn start_with_data(size: u16, more: &[&str]) -> Self {
        let data = || Some(tempfile::tempdir().expect("a temporary folder"));
        let started = (0..ATTEMPTS).find_map(|_| Self::try_start(size, more, data()));
        started.expect("ports that were free stay free for a moment")
    }

    /// Where a node keeps its data.
    pub fn data(&self, node: u16) -> PathBuf {
        let data = self.data.as_ref().expect("the nodes keep data");
        data.path().join(format!("n{}", node + 1))
    }

    /// None: another program took one of the ports.
    fn try_start(size: u16, more: &[&str], data: Option<TempDir>) -> Option<Self> {
        let more = more.iter().map(ToString::to_string).collect();
        let first_port = ports_in_a_row(size + SPARE);
        let mut cluster = Self { nodes: Vec::new(), size, first_port, more, data };
        cluster.nodes = (0..cluster.size).map(|node| cluster.process(node)).collect();
        let all_serve = eventually("all nodes serve", || {
            let ended = cluster.nodes.iter_mut().any(Process::has_ended);
            let all = cluster.nodes.iter_mut().all(|node| node.printed("ready ").is_some());
            (ended || all).then_some(all && !ended)
        });
        if !all_serve {
            let lost_port = cluster.nodes.iter().any(|node| node.log().contains("cannot listen"));
            assert!(lost_port, "a node ended before all served");
        }
        all_serve.then_some(cluster)
    }

    /// Another process with the identity of a node.
    pub fn process(&self, node: u16) -> Process {
        let peers: Vec<String> = (0..self.size).map(|n| self.peer_address(n).to_string()).collect();
        let mut args = vec!["serve".into(), "--client".into(), self.address(node).to_string()];
        args.extend(["--peer".into(), peers[usize::from(node)].clone()]);
        args.extend(["--initial-cluster".into(), peers.join(",")]);
        args.extend(self.more.iter().cloned());
        if self.data.is_some() {
            args.extend(["--data".into(), self.data(node).display().to_string()]);
        }
        Process::start(&format!("n{}", node + 1), &args)
    }

    /// A new process that joins through this member. Its ports are in the place of `number`, beyond
    /// those of the first nodes.
    pub fn joiner(&self, number: u16, through: u16) -> Process {
        Process::start(&format!("joiner {number}"), &self.joiner_args(number, through))
    }

    /// The arguments of a process that joins through this member.
    pub fn joiner_args(&self, number: u16, through: u16) -> Vec<String> {
        let mut args = vec!["serve".into(), "--client".into(), self.address(number).to_string()];
        args.extend(["--peer".into(), self.peer_address(number).to_string()]);
        args.extend(["--join".into(), self.peer_address(through).to_string()]);
        args
    }

    /// How many nodes it was started with.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Where clients of a node connect.
    pub fn address(&self, node: u16) -> SocketAddr {
        local(self.first_port + node)
    }

    /// Where peers of a node connect.
    pub fn peer_address(&self, node: u16) -> SocketAddr {
        local(self.first_port + 10_000 + node)
    }

    /// A connection to a node.
    pub fn connect(&self, node: u16) -> Connection {
        connect(self.address(node))
    }

    /// A bare connection to a node.
    pub fn stream(&self, node: u16) -> TcpStream {
        stream(self.address(node))
    }
}

/// An address on this machine.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A connection of the redis client.
pub fn connect(address: SocketAddr) -> Connection {
    let client = redis::Client::open(format!("redis://{address}")).expect("an address");
    // A node that stood still, as it may on a busy machine, ends the connections that it had.
    let connection =
        eventually("a connection", || match client.get_connection_with_timeout(PATIENCE) {
            Ok(connection) => Some(connection),
            Err(why) if why.is_connection_dropped() => None,
            Err(why) => panic!("the node is there: {why}"),
        });
    connection.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    connection.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    connection
}

/// A bare connection.
pub fn stream(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the node is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// The answers to commands that are one line each, and to as many as there are.
pub fn ask(mut stream: &TcpStream, commands: &str) -> Vec<String> {
    stream.write_all(commands.as_bytes()).expect("the node takes commands");
    let mut reader = BufReader::new(stream);
    let answer = || {
        let mut line = String::new();
        reader.read_line(&mut line).expect("the node answers");
        assert!(!line.is_empty(), "the node closed the connection");
        if let Some(Ok(size)) = line.trim_end().strip_prefix('$').map(str::parse::<usize>) {
            let mut bytes = vec![0; size + 2];
            reader.read_exact(&mut bytes).expect("the node answers");
            line = String::from_utf8(bytes).expect("text");
        }
        line.trim_end().to_string()
    };
    std::iter::repeat_with(answer).take(commands.lines().count()).collect()
}

/// All that comes until the other side closes. Panics when it does not close.
pub fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 64 * 1024]);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return bytes,
            Ok(size) => bytes.extend_from_slice(&chunk[..size]),
            // A node that closes before it read everything resets the connection.
            Err(why) if why.kind() == ErrorKind::ConnectionReset => return bytes,
            Err(why) => panic!("the node does not close the connection: {why}"),
        }
    }
}

/// Writes as much as the other side takes while nobody reads its answers: how much that is.
pub fn write_until_stuck(mut stream: &TcpStream, bytes: &[u8]) -> usize {
    const STUCK: Duration = Duration::from_millis(500);
    stream.set_write_timeout(Some(STUCK)).expect("a timeout");
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(size) => written += size,
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(why) => panic!("the node closes the connection: {why}"),
        }
    }
    written
}
