//! `cargo run --release -p tests --bin rolling -- --rounds 100`: starts the nodes of a loaded cluster again, one
//! after the other, by the README's recipe, and counts what was lost and which rounds did not end. Exits with 1
//! if there is any. ORRERY_BIN names another build to try.

use std::{
    fmt::Arguments,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser;
use tests::{
    cluster::Cluster,
    rolling::{Trial, restart_all},
};

#[derive(Parser)]
struct Args {
    /// Nodes that are started again.
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// Nodes of the cluster.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(3..=9))]
    nodes: u16,
    /// Clients that write all the while.
    #[arg(long, default_value_t = 4)]
    writers: usize,
    /// Records that are there from the beginning.
    #[arg(long, default_value_t = 50_000)]
    records: usize,
    /// Each node keeps its data in a folder, so that it starts again as the member that it was.
    #[arg(long)]
    data: bool,
    /// How long `orrery ring --wait` may take, in seconds.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
}

fn main() -> ExitCode {
    let Args { rounds, nodes, writers, records, data, timeout } = Args::parse();
    let start = if data { Cluster::start_with_data } else { Cluster::start };
    let mut cluster = start(nodes, &[]);
    let trial = Trial { rounds, writers, records, timeout_s: timeout };
    let outcome = restart_all(&mut cluster, trial, |round, took, why| {
        let took = took.as_secs_f64();
        match why {
            None => say(format_args!("round {}: settled after {took:.1} s", round + 1)),
            Some(why) => {
                say(format_args!("round {}: not settled after {took:.1} s: {why}", round + 1));
            }
        }
    });
    say(format_args!(
        "{rounds} rounds, {} writes acknowledged: lost {}, wedged {}, slots moved {}; errors: {:?}",
        outcome.acknowledged, outcome.lost, outcome.wedged, outcome.moved, outcome.refused
    ));
    let moved = u64::from(data) * outcome.moved;
    ExitCode::from(u8::from(outcome.lost + outcome.wedged > 0 || moved > 0))
}

/// A line for people. Whoever does not read it has the exit code.
fn say(line: Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}
