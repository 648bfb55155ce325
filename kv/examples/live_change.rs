//! A cluster under redis-benchmark while a fourth node joins and the first one leaves: rates before,
//! during and after, and whether any write that was answered with OK is missing in the end.
//!
//! `cargo run --release -p kv --example live_change`. Needs redis-benchmark. Rates are medians of short
//! runs: on a machine that others use too, only their ratios mean something.

// A program that measures real processes has real time.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use clap::Parser;
use common::{Client, Result, again, binary, median, needs};

#[derive(Parser)]
struct Options {
    /// Keys that are there before anything changes.
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Operations of each run of redis-benchmark.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    operations: u32,
    /// Runs before and after the changes.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Where clients of the first of four nodes connect; the others follow. Peers use ports 10000 above.
    #[arg(long, default_value_t = 27_500)]
    port: u16,
}

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

fn tell(line: &str) -> Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
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

/// Operations per second of one run of redis-benchmark. None, and why: it gives up at the first answer that is
/// an error.
fn benchmark(port: u16, test: &str, operations: u32) -> Result<std::result::Result<f64, String>> {
    let (port, run) = (port.to_string(), operations.to_string());
    let args = ["-p", &port, "-t", test, "-n", &run, "-P", "16", "-r", "100000", "--csv"];
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

fn fill(port: u16, keys: u64) -> Result<()> {
    let mut client = Client::connect(port)?;
    let keys: Vec<u64> = (0..keys).collect();
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
fn filled(port: u16, keys: u64) -> Result<u64> {
    let mut client = Client::connect(port)?;
    let keys: Vec<u64> = (0..keys).collect();
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

fn start(binary: &PathBuf, args: &[String]) -> Result<Process> {
    let mut command = Command::new(binary);
    command.args(args).env("ORRERY_LOG", "error").stdin(Stdio::null()).stdout(Stdio::null());
    Ok(Process(command.spawn()?))
}

fn main() -> Result<()> {
    let options = Options::parse();
    needs("redis-benchmark", "redis-tools")?;
    let (binary, keys) = (binary()?, options.keys);
    let port = |node: u16| options.port + node - 1;
    let first = options.port.to_string();
    let _cluster =
        start(&binary, &words(&["dev", "--nodes", "3", "--port", &first, "--in-memory"]))?;
    for node in 1..=3 {
        common::until_it_serves(&format!("n{node}"), port(node))?;
    }
    tell(&format!("3 nodes, R = 3, {keys} records of 50 characters"))?;
    again(|| fill(port(2), keys))?;
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
        let mut measure = |phase: &'static str, runs: u16| -> Result<()> {
            for _ in 0..runs {
                for test in ["set", "get"] {
                    match benchmark(port(2), test, options.operations)? {
                        Ok(rate) => rates.entry((phase, test)).or_default().push(rate),
                        Err(why) => {
                            tell(&format!("{phase}: a run of redis-benchmark gave up: {why}"))?;
                        }
                    }
                }
            }
            Ok(())
        };
        let mut work = || -> Result<Process> {
            measure("before", options.runs)?;
            let begun = Instant::now();
            let (client, peer) = (port(4).to_string(), (port(4) + 10_000).to_string());
            let args = words(&["serve", "--in-memory", "--client", &format!("127.0.0.1:{client}")]);
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
            measure("after", options.runs)?;
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
            tell(&format!("{phase:<16} over before a run of redis-benchmark was"))?;
            continue;
        }
        let runs = sets.len();
        let (set, get) = (median(sets), median(gets));
        tell(&format!("{phase:<16} SET {set:>9.0}/s  GET {get:>9.0}/s  (median of {runs} runs)"))?;
    }
    for (what, time) in took {
        tell(&format!("{what} within {:.1} s", time.as_secs_f64()))?;
    }
    let mut lost = 0;
    for (writer, (kept, other)) in (0..).zip(&kept) {
        for node in 2..=4 {
            lost += again(|| missing(port(node), writer, kept))?;
        }
        tell(&format!("writer {writer}: {other} answers other than OK"))?;
    }
    let found = again(|| filled(port(4), keys))?;
    let (_, _, members) = again(|| ring(port(4)))?;
    let ok = ok.load(Ordering::Relaxed);
    tell(&format!("members now: {}", members.join(", ")))?;
    tell(&format!("{found} of {keys} records are read back through n4"))?;
    tell(&format!("{ok} further writes were answered with OK; {lost} are missing"))?;
    drop(fourth);
    match lost == 0 && found == keys {
        true => Ok(()),
        false => Err("writes are lost".into()),
    }
}
