//! `orrery ring plan`: what a cluster would look like as it grows. (`orrery ring` alone is in [`members`].)

use std::{fs, path::PathBuf, str::FromStr, time::Duration};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets::UTF8_BORDERS_ONLY};
use serde_json::{Value, json};

use super::{
    NodeArgs,
    client::say,
    members,
    plot::{self, Curve, Panel},
};
use crate::core::ring::{
    RING_SIZE,
    plan::{self, PlanStep},
};

/// Tokens of the random rings that are measured beside ours.
const RANDOM_TOKENS: [usize; 3] = [16, 64, 256];

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RingArgs {
    #[command(subcommand)]
    command: Option<RingCommand>,
    /// Wait until the node answers, no change of the ring is under way, and the node has all that it is to
    /// have: then the next one may be started again, for example.
    #[arg(long)]
    wait: bool,
    /// With --wait: give up after so many seconds, and exit with 1.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 600,
        value_parser = clap::value_parser!(u32).range(1..=604_800)
    )]
    timeout: u32,
    #[command(flatten)]
    node: NodeArgs,
}

impl RingArgs {
    /// Whether what the command has to say is for a program.
    pub fn wants_json(&self) -> bool {
        match &self.command {
            Some(RingCommand::Plan(plan)) => plan.json,
            None => self.node.json,
        }
    }
}

#[derive(Subcommand)]
enum RingCommand {
    /// Print how even the slots are shared as members join one by one, and how much each join moves,
    /// beside random tokens. Needs no cluster.
    Plan(PlanArgs),
}

#[derive(Args)]
struct PlanArgs {
    /// From a first ring of so many members to so many.
    #[arg(long, default_value = "1..100")]
    nodes: Nodes,
    /// On how many members each key is; several with commas between them.
    #[arg(
        long,
        default_value = "1,3,5",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(1..=100)
    )]
    replication: Vec<u16>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Write a plot to this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// From so many members to so many.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Nodes {
    from: usize,
    to: usize,
}

/// A text is no [`Nodes`].
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("two numbers from 1 to 100, the smaller one first, such as 1..100")]
struct NotNodes;

impl FromStr for Nodes {
    type Err = NotNodes;

    fn from_str(text: &str) -> Result<Self, NotNodes> {
        let (from, to) = text.split_once("..").ok_or(NotNodes)?;
        let number = |text: &str| text.parse::<usize>().map_err(|_| NotNodes);
        let (from, to) = (number(from)?, number(to)?);
        match 1 <= from && from <= to && to <= 100 {
            true => Ok(Self { from, to }),
            false => Err(NotNodes),
        }
    }
}

/// A ring on the way, with the random rings beside it: the largest share in parts of the mean.
struct Row {
    step: PlanStep,
    random: [f64; RANDOM_TOKENS.len()],
}

/// The way at one R.
struct Plan {
    replication: usize,
    rows: Vec<Row>,
}

pub fn run(args: &RingArgs) -> Result<bool> {
    match &args.command {
        Some(RingCommand::Plan(args)) => plan(args),
        None => {
            let timeout = Duration::from_secs(u64::from(args.timeout));
            members::show(&args.node, args.wait.then_some(timeout))
        }
    }
}

fn plan(args: &PlanArgs) -> Result<bool> {
    let plans = measure(args)?;
    if let Some(path) = &args.svg {
        let text = plot::svg(&plans.iter().map(panel).collect::<Vec<_>>());
        fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    if args.json {
        let rows: Vec<Value> = plans.iter().flat_map(in_json).collect();
        say(&format_args!("{:#}", Value::Array(rows)))?;
        return Ok(true);
    }
    for plan in &plans {
        say(&format_args!("R = {}, {RING_SIZE} slots", plan.replication))?;
        say(&table(plan))?;
        say(&summary(plan))?;
    }
    Ok(true)
}

fn measure(args: &PlanArgs) -> Result<Vec<Plan>> {
    let Nodes { from, to } = args.nodes;
    let replications: Vec<usize> = args.replication.iter().copied().map(usize::from).collect();
    // Random tokens are drawn once for all R.
    let random: Vec<Vec<Vec<f64>>> = (from..=to)
        .map(|nodes| {
            let each = RANDOM_TOKENS.iter();
            each.map(|tokens| plan::random_most_over_mean(nodes, *tokens, &replications)).collect()
        })
        .collect();
    let mut plans = Vec::new();
    for (place, replication) in replications.into_iter().enumerate() {
        let steps = plan::grow(replication, from, to, RING_SIZE)?;
        let rows = steps.into_iter().zip(&random).map(|(step, random)| {
            let random = std::array::from_fn(|tokens| random[tokens][place]);
            Row { step, random }
        });
        plans.push(Plan { replication, rows: rows.collect() });
    }
    Ok(plans)
}

fn table(plan: &Plan) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    let random = RANDOM_TOKENS.map(|tokens| format!("random {tokens}"));
    let names = ["N", "slots: min", "mean", "max", "max/mean", "moved", "of fair"];
    table.set_header(names.into_iter().map(String::from).chain(random));
    for Row { step, random } in &plan.rows {
        let mut cells = vec![
            step.nodes.to_string(),
            step.shares.first().map_or("-".into(), ToString::to_string),
            format!("{:.1}", step.mean()),
            step.shares.last().map_or("-".into(), ToString::to_string),
            format!("{:.3}", step.most_over_mean()),
            step.moved.map_or("-".into(), |moved| moved.to_string()),
            step.moved_over_fair().map_or("-".into(), |ratio| format!("{ratio:.3}")),
        ];
        cells.extend(random.map(|ratio| format!("{ratio:.3}")));
        table.add_row(cells);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// The worst of a way.
fn summary(plan: &Plan) -> String {
    let worst = |figure: &dyn Fn(&Row) -> Option<f64>| {
        let figures = plan.rows.iter().filter_map(|row| Some((figure(row)?, row.step.nodes)));
        figures.max_by(|one, other| one.0.total_cmp(&other.0))
    };
    let told = |worst: Option<(f64, usize)>| {
        worst.map_or("-".into(), |(ratio, nodes)| format!("{ratio:.3} (N = {nodes})"))
    };
    let random: Vec<String> = (RANDOM_TOKENS.iter().enumerate())
        .map(|(place, tokens)| {
            format!("{} with {tokens}", told(worst(&|row| Some(row.random[place]))))
        })
        .collect();
    format!(
        "worst max/mean {}; worst join moves {} of its fair share\nworst max/mean of random tokens: {}\n",
        told(worst(&|row| Some(row.step.most_over_mean()))),
        told(worst(&|row| row.step.moved_over_fair())),
        random.join(", "),
    )
}

fn in_json(plan: &Plan) -> impl Iterator<Item = Value> + '_ {
    plan.rows.iter().map(|Row { step, random }| {
        let random: serde_json::Map<String, Value> = (RANDOM_TOKENS.iter().zip(random))
            .map(|(tokens, ratio)| (tokens.to_string(), json!(ratio)))
            .collect();
        json!({
            "replication": plan.replication,
            "nodes": step.nodes,
            "min": step.shares.first(),
            "mean": step.mean(),
            "max": step.shares.last(),
            "max_over_mean": step.most_over_mean(),
            "moved": step.moved,
            "moved_over_fair": step.moved_over_fair(),
            "random_max_over_mean": random,
        })
    })
}

fn panel(plan: &Plan) -> Panel {
    let curve = |name: String, figure: &dyn Fn(&Row) -> f64| Curve {
        name,
        points: plan.rows.iter().map(|row| (row.step.nodes as f64, figure(row))).collect(),
    };
    let mut curves = vec![curve("allocated".into(), &|row| row.step.most_over_mean())];
    for (place, tokens) in RANDOM_TOKENS.iter().enumerate() {
        curves.push(curve(format!("random {tokens}"), &|row| row.random[place]));
    }
    Panel { title: format!("R = {}", plan.replication), curves }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_two_numbers_in_order() {
        assert_eq!("3..100".parse(), Ok(Nodes { from: 3, to: 100 }));
        assert_eq!("1..1".parse(), Ok(Nodes { from: 1, to: 1 }));
        for bad in ["", "3", "3..", "..3", "0..3", "5..3", "1..101", "a..b", "1..=3", "-1..3"] {
            assert!(bad.parse::<Nodes>().is_err(), "{bad}");
        }
    }
}
