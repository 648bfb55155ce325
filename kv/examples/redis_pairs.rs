//! One node beside redis-server, under redis-benchmark: rates, their ratio, and CPU time per operation.
//!
//! `cargo run --release -p kv --example redis_pairs`. Needs redis-server and redis-benchmark. The two
//! servers are measured in turn, five times, and medians are printed: on a machine that others use
//! too, only the ratios mean something.

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
}

/// Operations per second, and CPU time per operation in microseconds.
struct Measured {
    rate: f64,
    cpu_us: f64,
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
    fn measure(&self, test: &str, keys: Option<&str>, operations: u32) -> Result<Measured> {
        let before = self.cpu_us()?;
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &self.port.to_string(), "-t", test, "-P", "16", "--csv"]);
        command.args(["-n", &operations.to_string()]);
        command.args(keys.iter().flat_map(|keys| ["-r", keys]));
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or_default();
        let rate = last.split(',').nth(1).map(|field| field.trim_matches('"'));
        let rate = rate.and_then(|field| field.parse().ok());
        let why = || {
            format!(
                "redis-benchmark printed {text:?}, {:?}",
                String::from_utf8_lossy(&output.stderr)
            )
        };
        let rate = rate.ok_or_else(why)?;
        Ok(Measured { rate, cpu_us: (self.cpu_us()? - before) / f64::from(operations) })
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
    let mut ours = Command::new(binary()?);
    ours.args(["serve", "--in-memory", "--client", &format!("127.0.0.1:{client}")]);
    ours.args(["--peer", &format!("127.0.0.1:{peer}")]);
    let mut theirs = Command::new("redis-server");
    theirs.args(["--port", &redis.to_string(), "--save", "", "--appendonly", "no"]);
    let ours = Server::start("orrery", ours, client)?;
    let theirs = Server::start("redis-server", theirs, redis)?;

    let mut out = io::stdout();
    writeln!(out, "medians of {pairs} pairs, {operations} operations each, redis-benchmark -P 16")?;
    writeln!(
        out,
        "                  orrery/s    redis/s  ratio   CPU us per operation: orrery  redis"
    )?;
    for keys in [None, Some("100000")] {
        for test in ["set", "get"] {
            let mut measured = Vec::new();
            for _ in 0..pairs {
                let ours = ours.measure(test, keys, operations)?;
                measured.push((ours, theirs.measure(test, keys, operations)?));
            }
            let of = |figure: Figure| median(measured.iter().map(figure).collect());
            writeln!(
                out,
                "{test} {:<12} {:>9.0}  {:>9.0}  {:>5.2}  {:>28.2}  {:>5.2}",
                keys.map(|keys| format!("-r {keys}")).unwrap_or_default(),
                of(|pair| pair.0.rate),
                of(|pair| pair.1.rate),
                of(|pair| pair.0.rate / pair.1.rate),
                of(|pair| pair.0.cpu_us),
                of(|pair| pair.1.cpu_us),
            )?;
        }
    }
    Ok(())
}
