//! `cargo run --release -p tests --bin kills -- --rounds 200`: kills all nodes of a cluster at once in the middle of a
//! load, starts them again, and reads all that was acknowledged; again and again. Exits with 1 if anything is missing.

use std::{
    fmt::Arguments,
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use tests::{
    cluster::Cluster,
    kills::{Written, missing, start_again, write_and_kill},
};

#[derive(Parser)]
struct Args {
    /// How often all nodes are killed.
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// Nodes of the cluster.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Clients, each with a key of its own.
    #[arg(long, default_value_t = 12)]
    writers: usize,
}

fn main() -> ExitCode {
    let Args { rounds, nodes, writers } = Args::parse();
    let mut cluster = Cluster::start_with_data(nodes, &[]);
    let (mut keys, mut acknowledged, mut lost) = (Written::keys(writers), 0, 0);
    for round in 1..=rounds {
        // At another moment of the load in each round.
        let load = Duration::from_millis(50 + u64::from(round * 37 % 400));
        acknowledged += write_and_kill(&mut cluster, &mut keys, load);
        let began = Instant::now();
        start_again(&mut cluster);
        let took = began.elapsed().as_secs_f64();
        let missing = missing(&cluster, &keys);
        missing.iter().for_each(|what| say(format_args!("round {round}: {what}")));
        lost += missing.len();
        say(format_args!("round {round}: {acknowledged} writes so far, started in {took:.1} s"));
    }
    say(format_args!("{rounds} rounds, {acknowledged} writes acknowledged: lost {lost}"));
    ExitCode::from(u8::from(lost > 0))
}

/// A line for people. Whoever does not read it has the exit code.
fn say(line: Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}
