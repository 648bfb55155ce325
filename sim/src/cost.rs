//! What membership costs as a cluster grows: the messages and bytes of nodes that serve nobody, counted in
//! the simulation.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use anyhow::{Result, anyhow};
use comfy_table::{CellAlignment, Table, presets::UTF8_BORDERS_ONLY};
use harness::{
    sweep::thread_cpu,
    text,
    world::network::{Link, Network},
};
use kv::{
    core::{message::Message, ring::RING_SIZE, time::Micros},
    node::config::NodeConfig,
    wire,
};
use serde_json::json;

use crate::{
    run::run_metered,
    scenario::{Cluster, Scenario},
};

/// The sizes that are measured.
const SIZES: [u32; 4] = [3, 10, 30, 100];
/// R.
const REPLICATION: usize = 3;
/// The first seconds are left out: nodes that start have more to say.
const WARM_UP_S: u64 = 20;
/// So many seconds are measured.
const MEASURED_S: u64 = 60;

/// Counts messages and their bytes, by kind, from some time on.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    from_us: u64,
    counts: BTreeMap<&'static str, (u64, u64)>,
    buffer: Vec<u8>,
}

impl Meter {
    /// A meter that counts from so many microseconds of a run on.
    pub fn new(from_us: u64) -> Self {
        Self { from_us, ..Self::default() }
    }

    /// A message leaves a node.
    pub fn count(&mut self, at: u64, message: &Message) {
        if at < self.from_us {
            return;
        }
        self.buffer.clear();
        wire::encode(message, &mut self.buffer);
        let (messages, bytes) = self.counts.entry(message.body.name()).or_default();
        *messages += 1;
        *bytes += self.buffer.len() as u64;
    }
}

/// What the messages of a kind are for.
fn purpose(kind: &str) -> &'static str {
    match kind {
        "gossip" => "detector",
        "probe" | "probe-reply" => "clocks",
        "digests" | "versions" | "delta" => "anti-entropy",
        _ => "other",
    }
}

/// A cluster that nobody uses.
fn idle(nodes: u32) -> Scenario {
    let usual = Link { latency_us: (200, 1_000), loss: 0, duplicate: 0, reorder: 0 };
    Scenario {
        seed: u64::from(nodes),
        cluster: Cluster {
            nodes,
            replication: REPLICATION,
            slots: RING_SIZE,
            config: NodeConfig {
                max_clock_drift: Micros::from_millis(1_000),
                ..NodeConfig::default()
            },
            sync_us: (50, 500),
            clocks: Vec::new(),
            journal: None,
        },
        network: Network { usual, links: Vec::new() },
        changes: Vec::new(),
        stale: None,
        operations: Vec::new(),
        faults: Vec::new(),
        script: Vec::new(),
        heal_at_ms: (WARM_UP_S + MEASURED_S) * 1_000,
        converge_within_ms: 60_000,
    }
}

/// What a node sends for a purpose, per second.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    messages: f64,
    bytes: f64,
}

fn rates(nodes: u32) -> Result<(BTreeMap<&'static str, Rate>, f64)> {
    let measure = move || {
        let before = thread_cpu();
        let meter = Rc::new(RefCell::new(Meter::new(WARM_UP_S * 1_000_000)));
        let counting = meter.clone();
        let verdict = run_metered(&idle(nodes), move |at, message| {
            counting.borrow_mut().count(at, message);
        });
        let cpu = (thread_cpu() - before).as_secs_f64();
        (verdict.violation, meter.take().counts, cpu)
    };
    let (failed, counts, cpu) =
        std::thread::spawn(measure).join().map_err(|_| anyhow!("the measurement panicked"))?;
    anyhow::ensure!(failed.is_none(), "an idle cluster of {nodes} nodes failed: {failed:?}");
    let mut rates: BTreeMap<&'static str, Rate> = BTreeMap::new();
    let node_seconds = f64::from(nodes) * MEASURED_S as f64;
    for (kind, (messages, bytes)) in counts {
        let rate = rates.entry(purpose(kind)).or_default();
        rate.messages += messages as f64 / node_seconds;
        rate.bytes += bytes as f64 / node_seconds;
    }
    Ok((rates, cpu))
}

/// Measures and prints.
pub fn command(as_json: bool) -> Result<bool> {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    let purposes = ["detector", "clocks", "anti-entropy", "other"];
    let mut header = vec!["nodes".to_string()];
    for name in purposes.iter().chain([&"all"]) {
        header.extend([format!("{name}: messages"), "bytes".to_string()]);
    }
    table.set_header(header);
    let mut rows = Vec::new();
    for nodes in SIZES {
        let (rates, cpu) = rates(nodes)?;
        let mut all = Rate::default();
        let mut cells = vec![nodes.to_string()];
        let mut costs = serde_json::Map::new();
        let listed =
            purposes.iter().map(|name| (*name, rates.get(name).copied().unwrap_or_default()));
        for (name, rate) in listed {
            all.messages += rate.messages;
            all.bytes += rate.bytes;
            cells.extend([format!("{:.1}", rate.messages), format!("{:.0}", rate.bytes)]);
            costs.insert(name.into(), json!({ "messages": rate.messages, "bytes": rate.bytes }));
        }
        cells.extend([format!("{:.1}", all.messages), format!("{:.0}", all.bytes)]);
        costs.insert("all".into(), json!({ "messages": all.messages, "bytes": all.bytes }));
        rows.push(json!({ "nodes": nodes, "per_node_and_second": costs, "cpu_seconds": cpu }));
        table.add_row(cells);
    }
    if as_json {
        text::print(&format!("{:#}", serde_json::Value::Array(rows)))?;
        return Ok(true);
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    text::print(&format!(
        "Sent per node and second by a cluster that nobody uses, R = {REPLICATION}"
    ))?;
    text::print(&table.to_string())?;
    Ok(true)
}
