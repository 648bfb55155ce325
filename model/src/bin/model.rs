//! `cargo model`: explores all models.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use comfy_table::{ContentArrangement, Table, presets::UTF8_BORDERS_ONLY};
use harness::text;
use indicatif::{ProgressBar, ProgressStyle};
use model::{
    path::ModelPath,
    replay,
    report::{Explored, Options, Stage, explore},
    world::{self, ClusterModel},
};
use serde_json::{Value, json};
use stateright::Model as _;

/// Explores every state of small clusters, around the code that serves.
#[derive(Parser)]
#[command(name = "cargo model", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Just these models.
    names: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// End at the first violation, and explore the small models first.
    #[arg(long)]
    stop_at_first: bool,
    /// Write the shortest path to each violation, and to all that must be possible, to this folder, as
    /// scenarios for `cargo sim replay`. Paths to what is possible take as long again to find.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Threads. By default as many as there are cores.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a model to a browser, to walk through it by hand.
    Explore {
        /// The model.
        name: String,
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:3000")]
        address: String,
    },
}

fn main() -> ExitCode {
    world::steps::quiet_panics();
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            text::tell(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> Result<bool> {
    if let Some(Command::Explore { name, address }) = cli.command {
        let model = chosen(&[name])?.pop().context("it was chosen")?;
        // The server itself ends without a word where it cannot listen.
        std::net::TcpListener::bind(&address).with_context(|| {
            format!("cannot listen at {address}; choose another with --address")
        })?;
        text::tell(&format!("serving {} at http://{address}; Ctrl-C ends it", model.setup.name));
        model.checker().serve(address);
        return Ok(true);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cli.threads.map_or(cores, usize::from);
    let mut models = chosen(&cli.names)?;
    if cli.stop_at_first {
        // The small ones first: a violation in one of them is not waited for.
        models.sort_by_key(|model| model.setup.states);
    }
    let mut all = Vec::new();
    for model in models {
        if !cli.json {
            text::tell(&format!("{}: {} …", model.setup.name, model.setup.about));
        }
        let known = model.setup.states as u64;
        let bar = if cli.json { ProgressBar::hidden() } else { ProgressBar::new(known) };
        let style = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} states, {per_sec} {msg}";
        bar.set_style(ProgressStyle::with_template(style).context("the bar's template")?);
        let options = Options {
            threads,
            stop_at_first: cli.stop_at_first,
            // Whoever stops at the first violation wants the path to that.
            shortest_examples: cli.write.is_some() && !cli.stop_at_first,
        };
        let explored = explore(model, &options, |stage, states, depth| {
            bar.set_position(states as u64);
            bar.set_message(match stage {
                Stage::Exploring => format!("depth {depth}"),
                Stage::Shortening => format!("depth {depth}, for the shortest path"),
            });
        });
        bar.finish_and_clear();
        if let Some(folder) = &cli.write {
            write(&explored, folder, cli.json)?;
        }
        let violated = !explored.violated.is_empty();
        all.push(explored);
        if violated && cli.stop_at_first {
            break;
        }
    }
    let holds = all.iter().all(Explored::holds);
    let text = if cli.json { as_json(&all, holds) } else { as_table(&all, holds) };
    text::print(&text)?;
    Ok(holds)
}

fn chosen(names: &[String]) -> Result<Vec<ClusterModel>> {
    let all = model::all();
    let known: Vec<&str> = all.iter().map(|model| model.setup.name).collect();
    for name in names {
        ensure!(
            known.contains(&name.as_str()),
            "there is no model {name:?}; there are {}",
            known.join(", ")
        );
    }
    let is_chosen =
        |model: &ClusterModel| names.is_empty() || names.iter().any(|n| n == model.setup.name);
    Ok(all.into_iter().filter(is_chosen).collect())
}

/// Writes all paths.
fn write(explored: &Explored, folder: &Path, json: bool) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{} cannot be made", folder.display()))?;
    for path in explored.violated.iter().chain(&explored.seen) {
        let Some(scenario) = replay::scenario(&explored.setup, &path.actions) else {
            continue;
        };
        let file = folder.join(file(explored, path));
        std::fs::write(&file, scenario.text())
            .with_context(|| format!("{} cannot be written", file.display()))?;
        if !json {
            text::tell(&format!("  {}: cargo sim replay {}", path.property, file.display()));
        }
    }
    Ok(())
}

/// The name of a path's file: the model, and what it shows, in few letters.
fn file(explored: &Explored, path: &ModelPath) -> String {
    let short = path.property.split(':').next().unwrap_or(path.property);
    let words = short.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    format!("{}-{}.ron", explored.setup.name, words.join("-"))
}

fn verdict(explored: &Explored) -> String {
    let violated: Vec<&str> = explored.violated.iter().map(|path| path.property).collect();
    if !violated.is_empty() {
        format!("violated: {}", violated.join("; "))
    } else if !explored.is_complete {
        "not explored to its end".into()
    } else if !explored.impossible.is_empty() {
        format!("never seen: {}", explored.impossible.join("; "))
    } else if explored.states != explored.setup.states {
        format!("holds, but has {} states, not {}", explored.states, explored.setup.states)
    } else {
        "holds".into()
    }
}

fn as_table(all: &[Explored], holds: bool) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(harness::text::width()).unwrap_or(u16::MAX));
    table.set_header(["model", "states", "depth", "s", "states/s", "seen", "verdict"]);
    for explored in all {
        let rate = explored.states as f64 / explored.seconds.max(1e-9);
        table.add_row([
            explored.setup.name.to_string(),
            explored.states.to_string(),
            explored.depth.to_string(),
            format!("{:.1}", explored.seconds),
            format!("{rate:.0}"),
            format!(
                "{} of {}",
                explored.seen.len(),
                explored.seen.len() + explored.impossible.len()
            ),
            verdict(explored),
        ]);
    }
    let states: usize = all.iter().map(|explored| explored.states).sum();
    let seconds: f64 = all.iter().map(|explored| explored.seconds).sum();
    let verdict = if holds {
        "all models hold"
    } else {
        "a property is violated, or a model is not as it was"
    };
    format!("{table}\n{states} states in {seconds:.1} s\nverdict: {verdict}")
}

fn as_json(all: &[Explored], holds: bool) -> String {
    let models: Vec<Value> = all.iter().map(model_json).collect();
    format!("{:#}", json!({ "models": models, "holds": holds }))
}

fn model_json(explored: &Explored) -> Value {
    let can_replay = explored.setup.rings.is_empty();
    let steps = |path: &ModelPath| {
        let file = can_replay.then(|| file(explored, path));
        let why = (!can_replay).then_some(replay::NO_RINGS);
        let steps = path.actions.len();
        json!({ "property": path.property, "steps": steps, "file": file, "no_file": why })
    };
    let names = |paths: &[ModelPath]| paths.iter().map(|path| path.property).collect::<Vec<_>>();
    json!({
        "model": explored.setup.name,
        "about": explored.setup.about,
        "states": explored.states,
        "pinned": explored.setup.states,
        "depth": explored.depth,
        "seconds": explored.seconds,
        "complete": explored.is_complete,
        "violated": names(&explored.violated),
        "paths": explored.violated.iter().map(steps).collect::<Vec<_>>(),
        "seen": names(&explored.seen),
        "never_seen": explored.impossible,
    })
}
