//! What one slot with many keys costs: how long a join takes that moves it, and what clients of *other* keys see
//! meanwhile, beside as many keys that are spread. And how fast a node that was away catches up.
//!
//! `cargo run --release -p kv --example big_slot`; `-- --keys 20000,300000` for other sizes, `-- --binary PATH`
//! for another build of orrery. On a machine that others use too, only ratios and the nodes' CPU time mean something.

// A program that measures real processes has real time.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::{
    error::Error,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use clap::Parser;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
struct Options {
    /// Keys of one tag, and spread, at the join.
    #[arg(long, value_delimiter = ',', default_values_t = [20_000, 60_000, 300_000])]
    keys: Vec<u64>,
    /// How many records a node lacks that was away.
    #[arg(long, default_value_t = 300_000)]
    lacking: u64,
    /// Another build of orrery.
    #[arg(long)]
    binary: Option<PathBuf>,
}

const QUIET: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(400);

/// A process that ends with the measurement.
struct Process(Child);

impl Process {
    fn signal(&self, name: &str) -> Result<()> {
        let done = Command::new("kill").args([name, &self.0.id().to_string()]).status()?;
        if done.success() { Ok(()) } else { Err(format!("kill {name} failed").into()) }
    }

    /// The CPU time that it has used, in seconds, where the system tells.
    fn cpu(&self) -> Option<f64> {
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).ok()?;
        let fields = stat.rsplit_once(')')?.1.split_whitespace();
        let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
        Some(ticks.sum::<u64>() as f64 / TICKS_PER_SECOND)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A connection of the Redis protocol.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn send(&mut self, commands: &[Vec<String>]) -> Result<()> {
        let mut out = Vec::new();
        for words in commands {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            kv::resp::reply::command(&mut out, &words);
        }
        Ok(self.0.get_mut().write_all(&out)?)
    }

    /// The next answer; an error is one.
    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err("the node closed the connection".into());
        }
        let rest = line[1..].trim_end().to_string();
        match (line.chars().next(), rest.parse::<i64>()) {
            (Some('-'), _) => Err(rest.into()),
            (Some('$'), Ok(length)) if length >= 0 => {
                let mut bytes = vec![0; usize::try_from(length)? + 2];
                self.0.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Ok(String::from_utf8(bytes)?)
            }
            _ => Ok(rest),
        }
    }

    fn ask(&mut self, words: &[&str]) -> Result<String> {
        self.send(&[words.iter().map(ToString::to_string).collect()])?;
        self.answer()
    }
}

/// Ports that are free now.
fn ports<const N: usize>() -> Result<[u16; N]> {
    let bound: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    let ports = bound.iter().map(|listener| listener.local_addr().map(|address| address.port()));
    let ports: Vec<u16> = ports.collect::<std::io::Result<_>>()?;
    ports.try_into().map_err(|_| "so many were asked for".into())
}

/// Beside the example: `target/release/orrery`, built if it is not there or older than its source.
fn built() -> Result<PathBuf> {
    let example = std::env::current_exe()?;
    let folder = example.parent().and_then(|examples| examples.parent()).ok_or("no folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--release", "-p", "kv", "--bin", "orrery", "--target-dir"])
        .arg(folder.parent().ok_or("no folder")?)
        .status()?;
    match built.success() {
        true => Ok(folder.join("orrery")),
        false => Err("cargo build --release -p kv --bin orrery failed".into()),
    }
}

/// Three nodes, and ports for a fourth.
struct Cluster {
    binary: PathBuf,
    clients: [u16; 4],
    peers: [u16; 4],
    nodes: Vec<Process>,
}

impl Cluster {
    fn start(binary: &Path) -> Result<Self> {
        let all: [u16; 8] = ports()?;
        let [clients, peers] = [0, 4].map(|at| [all[at], all[at + 1], all[at + 2], all[at + 3]]);
        let mut cluster = Self { binary: binary.to_path_buf(), clients, peers, nodes: Vec::new() };
        let members = peers[..3].iter().map(|port| format!("127.0.0.1:{port}"));
        let members = members.collect::<Vec<_>>().join(",");
        for node in 0..3 {
            cluster.add(node, &["--initial-cluster", &members])?;
        }
        for port in &clients[..3] {
            // It serves once it knows its peers' clocks.
            until("a node takes writes", || {
                Client::connect(*port).and_then(|mut c| c.ask(&["SET", "first", ""])).is_ok()
            })?;
        }
        Ok(cluster)
    }

    fn add(&mut self, node: usize, args: &[&str]) -> Result<()> {
        let (client, peer) = (self.clients[node], self.peers[node]);
        let mut command = Command::new(&self.binary);
        command.args(["serve", "--client", &format!("127.0.0.1:{client}")]);
        command.args(["--peer", &format!("127.0.0.1:{peer}"), "--in-memory"]).args(args);
        command.env("ORRERY_LOG", "error").stdin(Stdio::null()).stdout(Stdio::null());
        self.nodes.push(Process(command.spawn()?));
        Ok(())
    }

    /// Epoch, and whether a change is under way.
    fn ring(&self, node: usize) -> Result<(u64, bool)> {
        let text = Client::connect(self.clients[node])?.ask(&["RING"])?;
        let ring: serde_json::Value = serde_json::from_str(&text)?;
        Ok((ring["epoch"].as_u64().ok_or("no epoch")?, ring["joint"] == true))
    }

    fn info(&self, node: usize, name: &str) -> Result<u64> {
        let text = Client::connect(self.clients[node])?.ask(&["INFO"])?;
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(key, _)| *key == name).ok_or("INFO lacks a field")?;
        Ok(value.parse()?)
    }

    /// The CPU time of all nodes, in seconds.
    fn cpu(&self) -> f64 {
        self.nodes.iter().filter_map(Process::cpu).sum()
    }

    fn fill(&self, keys: u64, name: impl Fn(u64) -> String) -> Result<()> {
        let mut client = Client::connect(self.clients[0])?;
        let keys: Vec<u64> = (0..keys).collect();
        for keys in keys.chunks(500) {
            let set = |key: &u64| vec!["SET".into(), name(*key), format!("{key:0>50}")];
            client.send(&keys.iter().map(set).collect::<Vec<_>>())?;
            for _ in keys {
                client.answer()?;
            }
        }
        Ok(())
    }
}

fn until(what: &str, mut look: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + LIMIT;
    while !look() {
        if Instant::now() > end {
            return Err(format!("not within {} s: {what}", LIMIT.as_secs()).into());
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Writes keys that are spread, one after the other, until it is told to stop: when each began, and how long it
/// took. What is refused or not answered in time counts with the time that it took.
fn write(port: u16, stop: &AtomicBool) -> Result<Vec<(Instant, Duration)>> {
    let mut client = Client::connect(port)?;
    let mut took = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        let _ = client.ask(&["SET", &format!("other-{}", number % 5_000), "v"]);
        took.push((begun, begun.elapsed()));
    }
    Ok(took)
}

/// The 99th percentile and the worst, in milliseconds.
fn worst(mut took: Vec<Duration>) -> (f64, f64) {
    took.sort_unstable();
    let ms = |at: usize| took.get(at).map_or(0.0, |took| took.as_secs_f64() * 1_000.0);
    (ms(took.len() * 99 / 100), ms(took.len().saturating_sub(1)))
}

/// One line of the table. None: the new node does not own the slot of this tag.
fn join(binary: &Path, keys: u64, tag: Option<u32>) -> Result<Option<String>> {
    let mut cluster = Cluster::start(binary)?;
    match tag {
        Some(tag) => cluster.fill(keys, |key| format!("{{tag{tag}}}{key}"))?,
        None => cluster.fill(keys, |key| format!("key-{key}"))?,
    }
    let stop = AtomicBool::new(false);
    let port = cluster.clients[1];
    let (took, begun, joined, cpu) = std::thread::scope(|scope| -> Result<_> {
        let writer = scope.spawn(|| write(port, &stop));
        let mut change = || -> Result<_> {
            sleep(QUIET);
            let (begun, cpu) = (Instant::now(), cluster.cpu());
            let member = format!("127.0.0.1:{}", cluster.peers[0]);
            cluster.add(3, &["--join", &member])?;
            until("the fourth node has joined", || {
                cluster.ring(1).is_ok_and(|(epoch, joint)| epoch >= 3 && !joint)
            })?;
            let joined = begun.elapsed();
            until("who gave up slots has forgotten them", || {
                (0..3).all(|node| cluster.info(node, "slots_to_hand_over").is_ok_and(|n| n == 0))
            })?;
            Ok((begun, joined, cluster.cpu() - cpu))
        };
        let changed = change();
        stop.store(true, Ordering::Relaxed);
        let took = writer.join().map_err(|_| "the writer panicked")??;
        let (begun, joined, cpu) = changed?;
        Ok((took, begun, joined, cpu))
    })?;
    if tag.is_some() && cluster.info(3, "records")? < keys {
        return Ok(None);
    }
    let part = |is_before: bool| {
        took.iter().filter(|(at, _)| (*at < begun) == is_before).map(|(_, took)| *took).collect()
    };
    let ((p99, most), (p99_during, most_during)) = (worst(part(true)), worst(part(false)));
    let what = if tag.is_some() { "of one tag" } else { "spread" };
    let over = took.last().map_or(Duration::ZERO, |(at, _)| *at - begun);
    Ok(Some(format!(
        "{keys:>7}  {what:<10} {:>7.1} {:>9.1} {cpu:>7.1} {p99:>10.2} {most:>7.1} {p99_during:>10.2} {most_during:>8.1}",
        joined.as_secs_f64(),
        over.as_secs_f64(),
    )))
}

/// A node is stopped, misses writes, and goes on: how many it lacks, how long until it has them, and the CPU time
/// of all nodes until then.
fn catch_up(
    binary: &Path,
    count: u64,
    name: impl Fn(u64) -> String,
) -> Result<(u64, Duration, f64)> {
    let cluster = Cluster::start(binary)?;
    let before = cluster.info(2, "records")?;
    cluster.nodes[2].signal("-STOP")?;
    let filled = cluster.fill(count, name);
    sleep(QUIET);
    cluster.nodes[2].signal("-CONT")?;
    filled?;
    let (begun, cpu) = (Instant::now(), cluster.cpu());
    // It closes the connections that were made while it stood still.
    let mut had = None;
    until("the node that was away answers", || {
        had = cluster.info(2, "records").ok();
        had.is_some()
    })?;
    let had = had.ok_or("it answered")?;
    until("the node that was away has all", || {
        cluster.info(2, "records").is_ok_and(|records| records >= before + count)
    })?;
    Ok((before + count - had, begun.elapsed(), cluster.cpu() - cpu))
}

fn main() -> Result<()> {
    let options = Options::parse();
    let binary = options.binary.map_or_else(built, Ok)?;
    let mut out = io::stdout();
    writeln!(
        out,
        "three nodes, R = 3, values of 50 characters; a fourth one joins while other keys are written"
    )?;
    writeln!(
        out,
        "                     joined,  all over,   CPU,  before, ms          during, ms"
    )?;
    writeln!(
        out,
        "   keys                    s         s       s         p99   worst        p99    worst"
    )?;
    for keys in options.keys {
        // A fourth node gets three slots of four.
        let lines = (0..8).map(|tag| join(&binary, keys, Some(tag)));
        let line = lines.filter_map(std::result::Result::transpose).next();
        writeln!(out, "{}", line.ok_or("no tag moves")??)?;
        writeln!(out, "{}", join(&binary, keys, None)?.ok_or("spread keys move")?)?;
    }
    let count = options.lacking;
    writeln!(
        out,
        "a node that was stopped while {count} records were written at QUORUM has them:"
    )?;
    for (what, tag) in [("spread", ""), ("of one tag", "{tag}")] {
        let (lacking, took, cpu) = catch_up(&binary, count, |key| format!("{tag}key-{key}"))?;
        let (seconds, rate) = (took.as_secs_f64(), lacking as f64 / took.as_secs_f64());
        writeln!(
            out,
            "{what:<10} {lacking:>7} lacking, {seconds:>6.1} s, {rate:>8.0} a second, {cpu:.1} s of CPU"
        )?;
    }
    Ok(())
}
