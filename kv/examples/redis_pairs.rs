//! One node beside redis-server, under redis-benchmark: rates, their ratio, and CPU time per operation.
//!
//! `cargo run --release -p kv --example redis_pairs`. Needs redis-server and redis-benchmark. The two
//! servers are measured in turn, five times, and medians are printed: on a machine that others use
//! too, only the ratios mean something.

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

const PAIRS: usize = 5;
const OPERATIONS: u32 = 500_000;
const REDIS: u16 = 27_400;
const ORRERY: u16 = 27_401;

/// Operations per second, and CPU time per operation in microseconds.
struct Measured {
    rate: f64,
    cpu_us: f64,
}

/// What of a pair of measurements, ours and theirs, is looked at.
type Figure = fn(&(Measured, Measured)) -> f64;

/// A server that is ended with the measurement.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(mut command: Command, port: u16) -> Self {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let name = quiet.get_program().to_string_lossy().into_owned();
        let child = quiet.spawn().unwrap_or_else(|why| panic!("{name} cannot be started: {why}"));
        let server = Self(child);
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        let tries = (0..500).find(|_| {
            sleep(Duration::from_millis(10));
            listens()
        });
        assert!(tries.is_some(), "{name} does not listen at port {port}");
        server
    }

    /// CPU time so far, in microseconds. The kernel counts in hundredths of a second.
    fn cpu_us(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("Linux");
        let after_name = stat.rsplit(')').next().expect("a line");
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks: u64 =
            [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("a number")).sum();
        ticks as f64 * 10_000.0
    }

    /// Runs redis-benchmark once.
    fn measure(&self, port: u16, test: &str, keys: Option<&str>) -> Measured {
        let before = self.cpu_us();
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &port.to_string(), "-t", test, "-P", "16", "--csv"]);
        command.args(["-n", &OPERATIONS.to_string()]);
        command.args(keys.iter().flat_map(|keys| ["-r", keys]));
        let output = command.output().expect("redis-benchmark, of Debian's redis-tools");
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or_default();
        let rate = last.split(',').nth(1).map(|field| field.trim_matches('"'));
        let rate = rate.and_then(|field| field.parse().ok());
        let rate = rate.unwrap_or_else(|| panic!("redis-benchmark printed {text:?}"));
        Measured { rate, cpu_us: (self.cpu_us() - before) / f64::from(OPERATIONS) }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// `orrery`, built beside this example.
fn orrery() -> PathBuf {
    let here = std::env::current_exe().expect("a program has a path");
    let folder = here.parent().and_then(|examples| examples.parent()).expect("target/release");
    folder.join("orrery")
}

fn main() {
    let binary = orrery();
    if !binary.exists() {
        eprintln!("{} is missing: cargo build --release", binary.display());
        std::process::exit(2);
    }
    let mut ours = Command::new(binary);
    ours.args(["serve", "--client", &format!("127.0.0.1:{ORRERY}")]);
    ours.args(["--peer", &format!("127.0.0.1:{}", ORRERY + 1)]);
    let mut theirs = Command::new("redis-server");
    theirs.args(["--port", &REDIS.to_string(), "--save", "", "--appendonly", "no"]);
    let (ours, theirs) = (Server::start(ours, ORRERY), Server::start(theirs, REDIS));

    println!("medians of {PAIRS} pairs, {OPERATIONS} operations each, redis-benchmark -P 16");
    println!("                  orrery/s    redis/s  ratio   CPU us per operation: orrery  redis");
    for keys in [None, Some("100000")] {
        for test in ["set", "get"] {
            let pairs: Vec<_> = (0..PAIRS)
                .map(|_| (ours.measure(ORRERY, test, keys), theirs.measure(REDIS, test, keys)))
                .collect();
            let of = |figure: Figure| median(pairs.iter().map(figure).collect());
            println!(
                "{test} {:<12} {:>9.0}  {:>9.0}  {:>5.2}  {:>28.2}  {:>5.2}",
                keys.map(|keys| format!("-r {keys}")).unwrap_or_default(),
                of(|pair| pair.0.rate),
                of(|pair| pair.1.rate),
                of(|pair| pair.0.rate / pair.1.rate),
                of(|pair| pair.0.cpu_us),
                of(|pair| pair.1.cpu_us),
            );
        }
    }
}
