//! Clusters of real `orrery` processes.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Seek as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    time::{Duration, Instant},
};

use redis::Connection;
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before a test gives up. Long: machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The `orrery` binary: that of the variable ORRERY_BIN, or built once by cargo.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("ORRERY_BIN") {
        Some(path) => path.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "-p", "kv", "--bin", "orrery", "--message-format=json"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the binary does not build");
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executable.expect("cargo names the executable")
}

/// Waits until something holds. Panics with `what` when it takes too long.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ports that are free at the moment.
pub fn free_ports(count: usize) -> Vec<u16> {
    let bind = || TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let listeners: Vec<TcpListener> = (0..count).map(|_| bind()).collect();
    listeners.iter().map(|l| l.local_addr().expect("it is bound").port()).collect()
}

/// A process of `orrery`. Killed when it is dropped; its log is shown when a test fails.
pub struct Process {
    name: String,
    child: Child,
    log: File,
    lines: mpsc::Receiver<String>,
}

impl Process {
    /// Starts `orrery` with these arguments.
    pub fn start(name: &str, args: &[String]) -> Self {
        let log = tempfile::tempfile().expect("a temporary file");
        let mut child = Command::new(binary())
            .args(args)
            .env("ORRERY_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().expect("a file can be shared"))
            .spawn()
            .expect("orrery starts");
        let output = child.stdout.take().expect("an output");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { name: name.to_string(), child, log, lines }
    }

    /// The next line of its output that begins so.
    pub fn line(&self, beginning: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.starts_with(beginning) => return line,
                Ok(_) => {}
                Err(why) => {
                    panic!("{} printed no line {beginning:?}: {why}\n{}", self.name, self.log())
                }
            }
        }
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        let mut log = self.log.try_clone().expect("a file can be shared");
        let mut text = Vec::new();
        log.rewind().expect("a file can be read again");
        log.read_to_end(&mut text).expect("a file can be read");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).expect("ids are small"));
        kill_process(id.expect("an id is not 0"), signal).expect("the process is there");
    }

    /// Kills it at once, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        eventually(&format!("the end of {name}"), || self.child.try_wait().expect("a child"))
    }

    /// Its resident memory, in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("the process is there");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has memory");
        let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
        kib * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.name, self.log());
        }
    }
}

/// A cluster of processes.
pub struct Cluster {
    /// The nodes: n1, n2, …
    pub nodes: Vec<Process>,
    clients: Vec<u16>,
    peers: Vec<u16>,
    more: Vec<String>,
}

impl Cluster {
    /// Starts nodes and waits until all serve.
    pub fn start(nodes: usize, more: &[&str]) -> Self {
        let ports = free_ports(2 * nodes);
        let (clients, peers) = ports.split_at(nodes);
        let more = more.iter().map(ToString::to_string).collect();
        let mut cluster =
            Self { nodes: Vec::new(), clients: clients.to_vec(), peers: peers.to_vec(), more };
        cluster.nodes = (0..nodes).map(|node| cluster.process(node)).collect();
        cluster.nodes.iter().for_each(|node| drop(node.line("ready ")));
        cluster
    }

    /// Another process with the identity of a node.
    pub fn process(&self, node: usize) -> Process {
        let peers: Vec<String> =
            self.peers.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut args = vec!["serve".into(), "--client".into(), self.address(node).to_string()];
        args.extend(["--peer".into(), peers[node].clone()]);
        args.extend(["--initial-cluster".into(), peers.join(",")]);
        args.extend(self.more.iter().cloned());
        Process::start(&format!("n{}", node + 1), &args)
    }

    /// Where clients of a node connect.
    pub fn address(&self, node: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.clients[node]))
    }

    /// Where peers of a node connect.
    pub fn peer_address(&self, node: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.peers[node]))
    }

    /// A connection to a node.
    pub fn connect(&self, node: usize) -> Connection {
        connect(self.address(node))
    }

    /// A bare connection to a node.
    pub fn stream(&self, node: usize) -> TcpStream {
        stream(self.address(node))
    }
}

/// A connection of the redis client.
pub fn connect(address: SocketAddr) -> Connection {
    let client = redis::Client::open(format!("redis://{address}")).expect("an address");
    let connection = client.get_connection_with_timeout(PATIENCE).expect("the node is there");
    connection.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    connection
}

/// A bare connection.
pub fn stream(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the node is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}
