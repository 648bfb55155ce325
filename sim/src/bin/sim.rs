//! `cargo sim`: sweeps seeded simulations of whole clusters, and replays those that failed.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use harness::{panics, report, story, sweep, text};
use indicatif::{ProgressBar, ProgressStyle};
use kv::core::quorum::Level;
use sim::{
    bench, cost, gates,
    run::run_caught,
    scenario::Scenario,
    store::Store,
    swarm::{self, Fixed},
};

/// Simulates clusters of Orrery under faults, each decided by a seed, and checks what the store promises.
#[derive(Parser)]
#[command(name = "cargo sim", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    sweep: SweepArgs,
}

#[derive(Args)]
struct SweepArgs {
    /// How many seeds to run.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many seeds to run at a time. By default, as many as there are cores.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Stop at the first seed that fails.
    #[arg(long)]
    stop_at_first: bool,
    /// Write each seed's event log into this folder.
    #[arg(long)]
    logs: Option<PathBuf>,
    #[command(flatten)]
    fixed: FixedArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct FixedArgs {
    /// Nodes of every cluster. By default each seed chooses.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    nodes: Option<u32>,
    /// On how many nodes each key is: on all, where there are fewer. By default each seed chooses.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
    replication: Option<u16>,
    /// Operations of every run. By default each seed chooses.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    ops: Option<u32>,
    /// The level of every operation of the clients: one, session, quorum, all or linearizable. By
    /// default each seed mixes some.
    #[arg(long)]
    level: Option<Level>,
}

impl FixedArgs {
    fn fixed(&self) -> Fixed {
        Fixed {
            nodes: self.nodes,
            replication: self.replication.map(usize::from),
            operations: self.ops.map(|ops| ops as usize),
            level: self.level,
        }
    }

    /// The flags that make the same choice again.
    fn flags(&self) -> String {
        let flag = |name: &str, value: Option<String>| {
            value.map(|value| format!(" --{name} {value}")).unwrap_or_default()
        };
        let number = |name: &str, value: Option<u32>| flag(name, value.map(|n| n.to_string()));
        let replication = number("replication", self.replication.map(u32::from));
        let level = flag("level", self.level.map(|level| level.to_string()));
        number("nodes", self.nodes) + &replication + &number("ops", self.ops) + &level
    }
}

#[derive(Subcommand)]
enum Command {
    /// Run one seed, or one scenario file, and tell its story.
    Replay {
        /// The seed.
        #[arg(long, conflicts_with = "file", required_unless_present = "file")]
        seed: Option<u64>,
        /// A scenario file.
        #[arg(conflicts_with_all = ["nodes", "replication", "ops", "level"])]
        file: Option<PathBuf>,
        #[command(flatten)]
        fixed: FixedArgs,
        /// Write the event log to this file.
        #[arg(long)]
        log: Option<PathBuf>,
        /// Write the scenario to this file, to edit it and to replay it.
        #[arg(long)]
        save: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Plant known bugs, one by one, and see how soon each is found.
    Bugs {
        /// Just this one.
        #[arg(long)]
        only: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Count what the members of a cluster that nobody uses say to each other, as the cluster grows.
    Cost {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measure the simulation's speed beside that of the runtime alone.
    Bench {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    panics::quiet_panics();
    let cli = Cli::parse();
    let done = match cli.command {
        None => sweep_seeds(&cli.sweep),
        Some(Command::Replay { seed, file, fixed, log, save, json }) => {
            replay(seed, file.as_deref(), &fixed.fixed(), log.as_deref(), save.as_deref(), json)
        }
        Some(Command::Bugs { only, json }) => planted::command(only.as_deref(), json),
        Some(Command::Cost { json }) => cost::command(json),
        Some(Command::Bench { json }) => bench::command(json),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            text::tell(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// How often the clock beside a progress bar moves.
const TICK: Duration = Duration::from_millis(200);

/// How many seeds at least a sweep needs, and of how many kinds, to be asked for every gate.
const SEEDS_FOR_GATES: u64 = 400;

fn sweep_seeds(args: &SweepArgs) -> Result<bool> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let what = sweep::Sweep {
        from: args.from,
        seeds: args.seeds,
        jobs: args.jobs.map_or(cores, usize::from),
        stop_at_first: args.stop_at_first,
        logs: args.logs.clone(),
    };
    let fixed = args.fixed.fixed();
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(args.seeds) };
    if !args.json {
        let (from, last) = (args.from, args.from.saturating_add(args.seeds - 1));
        text::tell(&format!("simulating seeds {from} to {last}, {} at a time", what.jobs));
    }
    let style = "{elapsed_precise} {wide_bar} {pos}/{len} seeds, {per_sec}, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).context("the progress bar's template")?);
    // A seed may take seconds: the clock goes on meanwhile.
    bar.enable_steady_tick(TICK);
    let run_seed = |seed, keep_text| run_caught(&swarm::scenario(seed, &fixed), keep_text);
    let swept =
        sweep::sweep(&what, run_seed, |done| bar.set_position(done)).with_context(|| {
            let folder = what.logs.as_deref().unwrap_or(Path::new("."));
            format!("the logs cannot be written to {}", folder.display())
        })?;
    bar.finish_and_clear();

    let missing = swept.tally.missing(&gates::gates(fixed.level));
    let asks_for_gates =
        args.seeds >= SEEDS_FOR_GATES && fixed.leaves_sizes() && !args.stop_at_first;
    let gates_hold = missing.is_empty() || !asks_for_gates;
    let green = swept.failed.is_empty() && gates_hold;
    let verdict = match (swept.failed.is_empty(), gates_hold) {
        (true, true) => "all properties held".to_string(),
        (true, false) => format!("never happened, so not tested: {}", missing.join(", ")),
        (false, _) => format!("{} of {} seeds failed", swept.failed.len(), swept.seeds),
    };
    if args.json {
        let mut json = report::json(&swept, &missing, &verdict);
        json["has_no_gate"] = gates::never().into_iter().collect();
        text::print(&format!("{json:#}"))?;
        return Ok(green);
    }
    text::print(&report::table(&swept, &missing, text::width()))?;
    if let Some(first) = swept.failed.first() {
        let scenario = swarm::scenario(first.seed, &fixed);
        let verdict = run_caught(&scenario, true);
        text::print(&story::story::<Store>(&scenario, &verdict, text::width()))?;
    }
    for (place, failed) in swept.failed.iter().take(20).enumerate() {
        // The story of the first one says what was violated.
        if place > 0 {
            text::print(&failed.violation.to_string())?;
        }
        text::print(&format!("  cargo sim replay --seed {}{}", failed.seed, args.fixed.flags()))?;
    }
    text::print(&format!("verdict: {verdict}"))?;
    Ok(green)
}

fn replay(
    seed: Option<u64>,
    file: Option<&Path>,
    fixed: &Fixed,
    log: Option<&Path>,
    save: Option<&Path>,
    json: bool,
) -> Result<bool> {
    let scenario = match (seed, file) {
        (Some(seed), _) => swarm::scenario(seed, fixed),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("{} cannot be read", path.display()))?;
            Scenario::parse(&text).with_context(|| format!("{} is no scenario", path.display()))?
        }
        (None, None) => anyhow::bail!("give a seed or a scenario file"),
    };
    if let Some(path) = save {
        std::fs::write(path, scenario.text())
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let verdict = run_caught(&scenario, true);
    if let (Some(path), Some(text)) = (log, &verdict.text) {
        std::fs::write(path, text)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    if json {
        text::print(&format!("{:#}", story::json::<Store>(&scenario, &verdict)))?;
    } else {
        text::print(&story::story::<Store>(&scenario, &verdict, text::width()))?;
    }
    Ok(verdict.violation.is_none())
}
