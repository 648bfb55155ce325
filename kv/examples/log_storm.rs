//! A log that cannot be written, under a storm: three nodes whose standard error is a full disk, a pipe that was
//! closed, and a pipe that nobody reads, beside three nodes with a quiet log. Both clusters meet the same bad peers
//! and bad clients while writers write.
//!
//! `cargo run --release -p kv --example log_storm -- --seconds 60`. It fails if a node ends, hangs, or does not end
//! when it is asked to. The two clusters are measured in turn: of the rates only their ratio means something.

// A program that measures real processes has real time.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind, PipeReader, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use clap::Parser;
use common::{Client, Process, Result, binary, free_ports, median, until, until_it_serves};

#[derive(Parser)]
struct Options {
    /// How long each of the two clusters is in the storm, in seconds.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

/// Writers of each cluster, and what each sends at a time.
const WRITERS: usize = 4;
const PIPELINE: usize = 16;
/// Between two bad connections to a port.
const PAUSE: Duration = Duration::from_millis(4);
/// How long the clusters are measured in turn.
const SLICE: Duration = Duration::from_secs(1);

struct Cluster {
    nodes: Vec<Process>,
    clients: [u16; 3],
    peers: [u16; 3],
}

impl Cluster {
    fn start(log: &str, errors: [Stdio; 3]) -> Result<Self> {
        let [a, b, c, d, e, f] = free_ports()?;
        let (clients, peers) = ([a, b, c], [d, e, f]);
        let list = peers.map(|port| format!("127.0.0.1:{port}")).join(",");
        let binary = binary()?;
        let mut nodes = Vec::new();
        for (errors, (client, peer)) in errors.into_iter().zip(clients.iter().zip(&peers)) {
            let node = Command::new(&binary)
                .args(["serve", "--in-memory", "--client", &format!("127.0.0.1:{client}")])
                .args(["--peer", &format!("127.0.0.1:{peer}"), "--initial-cluster", &list])
                .env("ORRERY_LOG", log)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(errors)
                .spawn()?;
            nodes.push(Process(node));
        }
        for client in clients {
            until_it_serves("a node", client)?;
        }
        Ok(Self { nodes, clients, peers })
    }

    /// Writes acknowledged within a slice of the storm.
    fn measure(&self, slice: Duration, bad: &AtomicU64) -> Result<u64> {
        let (stop, ok) = (AtomicBool::new(false), AtomicU64::new(0));
        let is_over = || stop.load(Ordering::Relaxed);
        scope(|scope| {
            let mut work = Vec::new();
            for writer in 0..WRITERS {
                let (ok, is_over) = (&ok, &is_over);
                work.push(
                    scope.spawn(move || write(self.clients[writer % 3], writer, ok, is_over)),
                );
            }
            for (port, bytes) in self.clients.iter().map(|port| (*port, &b"*1\r\n$-7\r\n"[..])) {
                scope.spawn(move || storm(port, bytes, bad, is_over));
            }
            for (port, bytes) in
                self.peers.iter().map(|port| (*port, &b"GET / HTTP/1.1\r\n\r\n"[..]))
            {
                scope.spawn(move || storm(port, bytes, bad, is_over));
            }
            sleep(slice);
            stop.store(true, Ordering::Relaxed);
            work.into_iter().try_for_each(|work| match work.join() {
                Ok(done) => done,
                Err(_) => Err("a writer panicked".into()),
            })
        })?;
        Ok(ok.load(Ordering::Relaxed))
    }

    /// Ends the nodes as an operator does.
    fn end(mut self) -> Result<()> {
        for (number, node) in (1..).zip(&mut self.nodes) {
            if let Some(status) = node.0.try_wait()? {
                return Err(format!("node {number} ended in the storm: {status}").into());
            }
            Command::new("kill").arg(node.0.id().to_string()).status()?;
            until(&format!("node {number} ends"), || matches!(node.0.try_wait(), Ok(Some(_))))?;
            let status = node.0.wait()?;
            if !status.success() {
                return Err(format!("node {number} ended with {status}").into());
            }
        }
        Ok(())
    }
}

fn write(port: u16, writer: usize, ok: &AtomicU64, is_over: &dyn Fn() -> bool) -> Result<()> {
    let mut client = Client::connect(port)?;
    for turn in 0.. {
        let set = |n: usize| {
            let key = (turn * PIPELINE + n) % 10_000;
            ["SET".into(), format!("w{writer}-{key}"), format!("{turn:0>100}")].to_vec()
        };
        client.send(&(0..PIPELINE).map(set).collect::<Vec<_>>())?;
        for _ in 0..PIPELINE {
            match client.answer()? {
                ('+', _) => ok.fetch_add(1, Ordering::Relaxed),
                (_, why) => return Err(format!("a write was refused: {why}").into()),
            };
        }
        if is_over() {
            return Ok(());
        }
    }
    unreachable!("it is told to stop")
}

/// Connects, says something bad, and waits until it is thrown out.
fn storm(port: u16, bytes: &[u8], bad: &AtomicU64, is_over: impl Fn() -> bool) {
    while !is_over() {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
            bad.fetch_add(1, Ordering::Relaxed);
        }
        sleep(PAUSE);
    }
}

/// A pipe that is full, whose reader is only kept.
fn full_pipe() -> Result<(PipeReader, Stdio)> {
    let (reader, mut writer) = io::pipe()?;
    rustix::io::ioctl_fionbio(&writer, true)?;
    loop {
        match writer.write(b"nobody reads this\n") {
            Ok(_) => {}
            Err(why) if why.kind() == ErrorKind::WouldBlock => break,
            Err(why) => return Err(why.into()),
        }
    }
    rustix::io::ioctl_fionbio(&writer, false)?;
    Ok((reader, writer.into()))
}

fn main() -> Result<()> {
    let options = Options::parse();
    let full = OpenOptions::new().write(true).open("/dev/full")?;
    let (_, closed) = io::pipe()?;
    let (_unread, unread) = full_pipe()?;
    let bad_logs = Cluster::start("info", [full.into(), closed.into(), unread])?;
    let quiet = Cluster::start("off", [Stdio::null(), Stdio::null(), Stdio::null()])?;
    let (mut totals, mut ratios) = ([0, 0], Vec::new());
    let (bad, begun) = (AtomicU64::new(0), Instant::now());
    for _ in 0..options.seconds {
        let counts = [bad_logs.measure(SLICE, &bad)?, quiet.measure(SLICE, &bad)?];
        totals = [totals[0] + counts[0], totals[1] + counts[1]];
        ratios.push(counts[0] as f64 / counts[1] as f64);
    }
    let (bad, took) = (bad.load(Ordering::Relaxed), begun.elapsed().as_secs_f64());
    let mut out = io::stdout();
    let seconds = options.seconds as f64;
    writeln!(
        out,
        "two clusters of 3 nodes, {seconds} s each in turn; {:.0} bad connections a second",
        bad as f64 / took
    )?;
    let [loud, still] = totals.map(|total| total as f64 / seconds);
    writeln!(out, "log on a full disk, a closed pipe, an unread pipe: {loud:>9.0} SET/s")?;
    writeln!(out, "quiet log:                                         {still:>9.0} SET/s")?;
    writeln!(
        out,
        "ratio of all {:.3}, median of the seconds' ratios {:.3}",
        loud / still,
        median(ratios)
    )?;
    for (name, port) in ["full", "closed", "unread"].iter().zip(bad_logs.clients) {
        let (_, info) = Client::connect(port)?.ask(&["INFO", "stats"])?;
        let lost = info.lines().find_map(|line| line.strip_prefix("log_lines_dropped:"));
        writeln!(
            out,
            "lines lost by the node whose log is {name}: {}",
            lost.unwrap_or("not told")
        )?;
    }
    bad_logs.end()?;
    quiet.end()?;
    writeln!(out, "no node ended, none hung, and all ended when they were asked to")?;
    Ok(())
}
