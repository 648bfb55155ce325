//! A cluster under redis-benchmark while a fourth node joins and the first one leaves: rates before,
//! during and after, and whether any write that was answered with OK is missing in the end.
//!
//! `cargo run --release -p kv --example live_change`. Needs redis-benchmark. Rates are medians of short
//! runs: on a machine that others use too, only their ratios mean something.

// A program that measures real processes has real time.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::{
    collections::BTreeMap,
    error::Error,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const FIRST_PORT: u16 = 27_500;
/// Keys that are there before anything changes.
const KEYS: u64 = 300_000;
const RUN: &str = "50000";
const RUNS: usize = 7;
const WRITERS: u64 = 2;

/// A process that ends with the measurement.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // `orrery dev` ends its nodes when it is asked to.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// A connection of the Redis protocol.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
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

    /// The next answer: what it begins with, and its text.
    fn answer(&mut self) -> Result<(char, String)> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err("the node closed the connection".into());
        }
        let kind = line.chars().next().unwrap_or(' ');
        let rest = line[1..].trim_end().to_string();
        match (kind, rest.parse::<i64>()) {
            ('$', Ok(length)) if length >= 0 => {
                let mut bytes = vec![0; usize::try_from(length)? + 2];
                self.0.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Ok((kind, String::from_utf8(bytes)?))
            }
            ('$', Ok(_)) => Ok(('_', String::new())),
            _ => Ok((kind, rest)),
        }
    }

    fn ask(&mut self, words: &[&str]) -> Result<(char, String)> {
        self.send(&[words.iter().map(ToString::to_string).collect()])?;
        self.answer()
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// Epoch, whether a change is under way, and the members, as a node knows them.
fn ring(port: u16) -> Result<(u64, bool, Vec<String>)> {
    let (_, text) = Client::connect(port)?.ask(&["RING"])?;
    let ring: serde_json::Value = serde_json::from_str(&text)?;
    let members = ring["members"].as_array().ok_or("no members")?;
    let ids = members.iter().filter_map(|member| member["id"].as_str().map(String::from));
    let epoch = ring["epoch"].as_u64().ok_or("no epoch")?;
    Ok((epoch, ring["joint"] == true, ids.collect()))
}

fn until(what: &str, mut look: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(120);
    while !look() {
        if Instant::now() > end {
            return Err(format!("not within two minutes: {what}").into());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Operations per second of one run of redis-benchmark. None, and why: it gives up at the first answer that is
/// an error.
fn benchmark(port: u16, test: &str) -> Result<std::result::Result<f64, String>> {
    let port = port.to_string();
    let args = ["-p", &port, "-t", test, "-n", RUN, "-P", "16", "-r", "100000", "--csv"];
    let done = Command::new("redis-benchmark").args(args).output()?;
    let text = String::from_utf8_lossy(&done.stdout);
    let rate = text.lines().last().and_then(|line| line.split(',').nth(1));
    let rate = rate.and_then(|rate| rate.trim_matches('"').parse().ok());
    let all = [&done.stdout[..], &done.stderr].concat();
    let why = String::from_utf8_lossy(&all).lines().last().unwrap_or_default().to_string();
    match rate {
        Some(rate) => Ok(Ok(rate)),
        None if why.contains("Error from server") => Ok(Err(why)),
        None => Err(format!("redis-benchmark -t {test}: {why}").into()),
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Writes keys of its own through two nodes that stay, until it is told to stop: the last value of each key
/// that was answered with OK, and how often there was another answer.
fn write(writer: u64, ports: [u16; 2], stop: &AtomicBool, ok: &AtomicU64) -> (Vec<u64>, u64) {
    let (mut kept, mut other) = (vec![0; 1_000], 0);
    let mut clients: Vec<Option<Client>> = vec![None, None];
    for value in 1.. {
        if stop.load(Ordering::Relaxed) {
            return (kept, other);
        }
        let (turn, key) = (value as usize % 2, value as usize % kept.len());
        let client = match clients[turn].take() {
            Some(client) => Ok(client),
            None => Client::connect(ports[turn]),
        };
        let (name, text) = (format!("kept-{writer}-{key}"), value.to_string());
        let asked = client.and_then(|mut client| {
            let answer = client.ask(&["SET", &name, &text])?;
            Ok((client, answer))
        });
        match asked {
            Ok((client, (kind, _))) => {
                clients[turn] = Some(client);
                match kind {
                    '+' => {
                        kept[key] = value;
                        ok.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => other += 1,
                }
            }
            Err(_) => other += 1,
        }
    }
    unreachable!("it is told to stop")
}

/// Values that are older than the last one that was answered with OK.
fn missing(port: u16, writer: u64, kept: &[u64]) -> Result<usize> {
    let mut client = Client::connect(port)?;
    let mut missing = 0;
    for (key, value) in kept.iter().enumerate().filter(|(_, value)| **value > 0) {
        let (_, found) = client.ask(&["GET", &format!("kept-{writer}-{key}")])?;
        missing += usize::from(found.parse::<u64>().unwrap_or(0) < *value);
    }
    Ok(missing)
}

fn fill(port: u16) -> Result<()> {
    let mut client = Client::connect(port)?;
    let keys: Vec<u64> = (0..KEYS).collect();
    for keys in keys.chunks(500) {
        let set = |key: &u64| words(&["SET", &format!("fill-{key}"), &format!("{key:0>50}")]);
        client.send(&keys.iter().map(set).collect::<Vec<_>>())?;
        for _ in keys {
            let (kind, why) = client.answer()?;
            if kind != '+' {
                return Err(why.into());
            }
        }
    }
    Ok(())
}

/// How many of the keys that were there before are there, with their values.
fn filled(port: u16) -> Result<u64> {
    let mut client = Client::connect(port)?;
    let keys: Vec<u64> = (0..KEYS).collect();
    let mut found = 0;
    for keys in keys.chunks(500) {
        let get = |key: &u64| words(&["GET", &format!("fill-{key}")]);
        client.send(&keys.iter().map(get).collect::<Vec<_>>())?;
        for key in keys {
            found += u64::from(client.answer()?.1 == format!("{key:0>50}"));
        }
    }
    Ok(found)
}

/// Beside the example: `target/release/orrery`, built if it is not there or older than its source.
fn binary() -> Result<PathBuf> {
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

fn start(binary: &PathBuf, args: &[String]) -> Result<Process> {
    let mut command = Command::new(binary);
    command.args(args).env("ORRERY_LOG", "error").stdin(Stdio::null()).stdout(Stdio::null());
    Ok(Process(command.spawn()?))
}

fn main() -> Result<()> {
    let binary = binary()?;
    let port = |node: u16| FIRST_PORT + node - 1;
    let first = FIRST_PORT.to_string();
    let _cluster = start(&binary, &words(&["dev", "--nodes", "3", "--port", &first]))?;
    until("three nodes serve", || (1..=3).all(|node| ring(port(node)).is_ok()))?;
    println!("3 nodes, R = 3, {KEYS} records of 50 characters");
    fill(port(2))?;
    let (stop, ok) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut rates: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    let mut took = Vec::new();
    let (kept, fourth) = std::thread::scope(|scope| -> Result<_> {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (stop, ok) = (&stop, &ok);
                scope.spawn(move || write(writer, [port(2), port(3)], stop, ok))
            })
            .collect();
        let mut measure = |phase: &'static str, runs: usize| -> Result<()> {
            for _ in 0..runs {
                for test in ["set", "get"] {
                    match benchmark(port(2), test)? {
                        Ok(rate) => rates.entry((phase, test)).or_default().push(rate),
                        Err(why) => println!("{phase}: a run of redis-benchmark gave up: {why}"),
                    }
                }
            }
            Ok(())
        };
        let mut work = || -> Result<Process> {
            measure("before", RUNS)?;
            let begun = Instant::now();
            let (client, peer) = (port(4).to_string(), (port(4) + 10_000).to_string());
            let args = words(&["serve", "--client", &format!("127.0.0.1:{client}")]);
            let peer = words(&["--peer", &format!("127.0.0.1:{peer}")]);
            let join = words(&["--join", &format!("127.0.0.1:{}", port(1) + 10_000)]);
            let fourth = start(&binary, &[args, peer, join].concat())?;
            let is_over =
                |epoch: u64| ring(port(2)).is_ok_and(|(now, joint, _)| now >= epoch && !joint);
            while !is_over(3) {
                measure("while n4 joins", 1)?;
            }
            took.push(("n4 joined", begun.elapsed()));
            let begun = Instant::now();
            Client::connect(port(2))?.ask(&["RING", "LEAVE", "n1"])?;
            while !is_over(5) {
                measure("while n1 leaves", 1)?;
            }
            took.push(("n1 left", begun.elapsed()));
            measure("after", RUNS)?;
            Ok(fourth)
        };
        let done = work();
        stop.store(true, Ordering::Relaxed);
        let kept = writers.into_iter().map(|w| w.join().map_err(|_| "a writer panicked".into()));
        Ok((kept.collect::<Result<Vec<_>>>()?, done?))
    })?;
    for phase in ["before", "while n4 joins", "while n1 leaves", "after"] {
        let all = |test| rates.get(&(phase, test)).cloned().unwrap_or_default();
        let (sets, gets) = (all("set"), all("get"));
        if sets.is_empty() || gets.is_empty() {
            println!("{phase:<16} over before a run of redis-benchmark was");
            continue;
        }
        let runs = sets.len();
        let (set, get) = (median(sets), median(gets));
        println!("{phase:<16} SET {set:>9.0}/s  GET {get:>9.0}/s  (median of {runs} runs)");
    }
    for (what, time) in took {
        println!("{what} within {:.1} s", time.as_secs_f64());
    }
    let mut lost = 0;
    for (writer, (kept, other)) in (0..).zip(&kept) {
        for node in 2..=4 {
            lost += missing(port(node), writer, kept)?;
        }
        println!("writer {writer}: {other} answers other than OK");
    }
    let found = filled(port(4))?;
    let (_, _, members) = ring(port(4))?;
    let ok = ok.load(Ordering::Relaxed);
    println!("members now: {}", members.join(", "));
    println!("{found} of {KEYS} records are read back through n4");
    println!("{ok} further writes were answered with OK; {lost} are missing");
    drop(fourth);
    match lost == 0 && found == KEYS {
        true => Ok(()),
        false => Err("writes are lost".into()),
    }
}
