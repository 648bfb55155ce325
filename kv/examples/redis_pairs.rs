//! One node beside redis-server, under redis-benchmark: rates, their ratio, and CPU time per operation.
//!
//! `cargo run --release -p kv --example redis_pairs`. Needs redis-server and redis-benchmark. The two
//! servers are measured in turn, five times, and medians are printed: on a machine that others use
//! too, only the ratios mean something. With `--durability` both keep their data on a disk, in the working directory:
//! `always` is beside `appendfsync always`, `interval` beside `appendfsync everysec`, and only SET is measured.

mod common;

use std::{
    fs,
    io::{self, Write as _},
    process::{Command, Stdio},
};

use clap::Parser;
use common::{Process, Result, binary, free_ports, median, needs, until_it_serves};

#[derive(Parser)]
struct Options {
    /// How often the two servers are measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pairs: u16,
    /// Operations of each measurement.
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    operations: u32,
    /// One pair of 20000 operations: to see that it works.
    #[arg(long, conflicts_with_all = ["pairs", "operations"])]
    quick: bool,
    /// What is on the disk when a write is acknowledged.
    #[arg(long, value_enum, default_value_t = Durability::Memory)]
    durability: Durability,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Durability {
    /// Nothing is kept on a disk.
    Memory,
    /// What was written 100 ms (ours) or a second (theirs) before.
    Interval,
    /// The write.
    Always,
}

/// What redis-benchmark is asked to do.
#[derive(Clone, Copy)]
struct Test {
    name: &'static str,
    keys: Option<&'static str>,
    pipeline: &'static str,
    value_bytes: &'static str,
}

impl Test {
    fn shown(self) -> String {
        let keys = self.keys.map(|keys| format!(" -r {keys}")).unwrap_or_default();
        format!("{} -P {} -d {}{keys}", self.name, self.pipeline, self.value_bytes)
    }
}

/// Operations per second, CPU time per operation in microseconds, and the latency that 99 % of them keep.
struct Measured {
    rate: f64,
    cpu_us: f64,
    p99_ms: f64,
}

/// What of a pair of measurements, ours and theirs, is looked at.
type Figure = fn(&(Measured, Measured)) -> f64;

/// A server that is ended with the measurement.
struct Server {
    process: Process,
    port: u16,
}

impl Server {
    fn start(name: &str, mut command: Command, port: u16) -> Result<Self> {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = quiet.spawn().map_err(|why| format!("{name} cannot be started: {why}"))?;
        let server = Self { process: Process(child), port };
        until_it_serves(name, port)?;
        Ok(server)
    }

    /// CPU time so far, in microseconds. The kernel counts in hundredths of a second.
    fn cpu_us(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.0.id()))?;
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let mut ticks = 0;
        for field in after_name.split_whitespace().skip(11).take(2) {
            ticks += field.parse::<u64>()?;
        }
        Ok(ticks as f64 * 10_000.0)
    }

    /// Runs redis-benchmark once.
    fn measure(&self, test: Test, operations: u32) -> Result<Measured> {
        let before = self.cpu_us()?;
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &self.port.to_string(), "-t", test.name, "-P", test.pipeline, "--csv"]);
        command.args(["-n", &operations.to_string(), "-d", test.value_bytes]);
        command.args(test.keys.iter().flat_map(|keys| ["-r", keys]));
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or_default();
        let field =
            |at: usize| -> Option<f64> { last.split(',').nth(at)?.trim_matches('"').parse().ok() };
        let why = || {
            format!(
                "redis-benchmark printed {text:?}, {:?}",
                String::from_utf8_lossy(&output.stderr)
            )
        };
        // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms", …
        let (rate, p99_ms) = field(1).zip(field(6)).ok_or_else(why)?;
        Ok(Measured { rate, p99_ms, cpu_us: (self.cpu_us()? - before) / f64::from(operations) })
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (pairs, operations) = match options.quick {
        true => (1, 20_000),
        false => (options.pairs, options.operations),
    };
    needs("redis-server", "redis-server")?;
    needs("redis-benchmark", "redis-tools")?;
    let [client, peer, redis] = free_ports()?;
    let folder = tempfile::tempdir_in(".")?;
    let mut ours = Command::new(binary()?);
    ours.args(["serve", "--client", &format!("127.0.0.1:{client}")]);
    ours.args(["--peer", &format!("127.0.0.1:{peer}")]);
    let mut theirs = Command::new("redis-server");
    theirs.args(["--port", &redis.to_string(), "--save", ""]);
    let (level, fsync) = match options.durability {
        Durability::Memory => {
            ours.arg("--in-memory");
            theirs.args(["--appendonly", "no"]);
            ("", "")
        }
        Durability::Interval => ("interval", "everysec"),
        Durability::Always => ("always", "always"),
    };
    if options.durability != Durability::Memory {
        ours.arg("--data").arg(folder.path().join("ours")).args(["--durability", level]);
        theirs.arg("--dir").arg(folder.path());
        theirs.args(["--appendonly", "yes", "--appendfsync", fsync]);
    }
    let ours = Server::start("orrery", ours, client)?;
    let theirs = Server::start("redis-server", theirs, redis)?;

    let tests = match options.durability {
        Durability::Memory => IN_MEMORY,
        Durability::Interval | Durability::Always => ON_DISK,
    };
    let mut out = io::stdout();
    writeln!(out, "medians of {pairs} pairs, {operations} operations each, redis-benchmark")?;
    let head = ["orrery/s", "redis/s", "ratio", "CPU us", "redis", "p99 ms", "redis"];
    write!(out, "{:<26}", "")?;
    head.iter().try_for_each(|name| write!(out, " {name:>9}"))?;
    writeln!(out)?;
    for test in tests {
        // Where each write waits for the disk a connection does not do many.
        let operations = if test.pipeline == "1" { operations / 8 } else { operations };
        let mut measured = Vec::new();
        for _ in 0..pairs {
            let ours = ours.measure(*test, operations)?;
            measured.push((ours, theirs.measure(*test, operations)?));
        }
        let of = |figure: Figure| median(measured.iter().map(figure).collect());
        writeln!(
            out,
            "{:<26} {:>9.0} {:>9.0} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
            test.shown(),
            of(|pair| pair.0.rate),
            of(|pair| pair.1.rate),
            of(|pair| pair.0.rate / pair.1.rate),
            of(|pair| pair.0.cpu_us),
            of(|pair| pair.1.cpu_us),
            of(|pair| pair.0.p99_ms),
            of(|pair| pair.1.p99_ms),
        )?;
    }
    Ok(())
}

const fn test(
    name: &'static str,
    keys: Option<&'static str>,
    pipeline: &'static str,
    value_bytes: &'static str,
) -> Test {
    Test { name, keys, pipeline, value_bytes }
}

const IN_MEMORY: &[Test] = &[
    test("set", None, "16", "3"),
    test("get", None, "16", "3"),
    test("set", Some("100000"), "16", "3"),
    test("get", Some("100000"), "16", "3"),
];

const ON_DISK: &[Test] =
    &[test("set", Some("100000"), "16", "100"), test("set", Some("100000"), "1", "100")];
