//! `cargo model`: explores all models.

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use kv::quorum::Level;
use model::put_get;
use serde_json::json;
use stateright::{Checker, Model};

/// Explores every state of small clusters, around the code that serves.
#[derive(Parser)]
#[command(name = "cargo model", version)]
struct Cli {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let started = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = put_get::model(Level::Quorum).checker().threads(cores).spawn_bfs().join();
    // A property that must hold and has a discovery fell; one that must be seen and has none, too.
    let fell: Vec<String> = checker
        .model()
        .properties()
        .iter()
        .filter(|property| {
            let discovered = checker.discovery(property.name).is_some();
            discovered == matches!(property.expectation, stateright::Expectation::Always)
        })
        .map(|property| property.name.to_string())
        .collect();
    let holds = fell.is_empty() && checker.is_done();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let seconds = started.elapsed().as_secs_f64();
    if cli.json {
        let json = json!({
            "model": "put_get", "states": states, "depth": depth, "seconds": seconds,
            "complete": checker.is_done(), "fell": fell,
        });
        println!("{json:#}");
    } else {
        let verdict = if holds { "holds".to_string() } else { format!("fell: {fell:?}") };
        println!("put_get  {states} states, depth {depth}, {seconds:.1} s: {verdict}");
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
