//! What people and programs are shown of a sweep.

use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};
use serde_json::{Value, json};

use crate::{
    sweep::Swept,
    tally::{Tally, Topic},
    text,
};

/// The names of the rows.
const NAMES: [&str; 10] = [
    "seeds",
    "operations",
    "faults",
    "messages",
    "branches",
    "events",
    "after healing",
    "simulated time",
    "speed",
    "never happened",
];

/// What a table spends beside its texts: three lines, and a space on both sides of each text.
const FRAME: usize = 7;

/// The table of a sweep, as wide as this or narrower. Rows are cut between names.
pub fn table(swept: &Swept, missing: &[String], width: usize) -> String {
    let names = NAMES.iter().map(|name| name.len()).max().unwrap_or(0);
    let room = width.saturating_sub(names + FRAME);
    let listed = |topic| listed(&swept.tally, topic, room);
    let wrapped = |line: &str| text::wrapped(line, room, 2).trim_end().to_string();
    let mut texts = vec![
        format!("{} run, {} failed", swept.seeds, swept.failed.len()),
        listed(Topic::Operation),
        listed(Topic::Fault),
        listed(Topic::Message),
        listed(Topic::Note),
        listed(Topic::Event),
    ];
    texts.push(match swept.slowest {
        Some((seed, took)) => {
            let took_s = took as f64 / 1e6;
            wrapped(&format!("at most {took_s:.1} s until all converged (seed {seed})"))
        }
        None => "-".into(),
    });
    texts.push(format!("{:.0} s", simulated_s(swept)));
    let speed = format!(
        "{:.0} simulated seconds and {:.0} messages per CPU second ({:.1} s of CPU, {:.1} s of time)",
        simulated_s(swept) / cpu_s(swept),
        swept.tally.count(Topic::Message, "delivered") as f64 / cpu_s(swept),
        cpu_s(swept),
        swept.wall.as_secs_f64(),
    );
    texts.push(wrapped(&speed));
    texts.push(if missing.is_empty() { "-".into() } else { text::listed(missing, room) });
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    for (name, text) in NAMES.iter().zip(texts) {
        table.add_row([name.to_string(), text]);
    }
    table.to_string()
}

fn simulated_s(swept: &Swept) -> f64 {
    swept.simulated_us as f64 / 1e6
}

fn cpu_s(swept: &Swept) -> f64 {
    swept.cpu.as_secs_f64().max(1e-9)
}

/// How many in all, and of which name how many.
fn listed(tally: &Tally, topic: Topic, room: usize) -> String {
    let each: Vec<String> = tally.of(topic).map(|(name, n)| format!("{name} {n}")).collect();
    match each.is_empty() {
        true => "0".into(),
        false => format!("{}\n{}", tally.total(topic), text::listed(&each, room)),
    }
}

/// The same for programs.
pub fn json(swept: &Swept, missing: &[String], verdict: &str) -> Value {
    let topic = |topic| -> Value {
        swept.tally.of(topic).map(|(name, count)| (name.to_string(), json!(count))).collect()
    };
    let failed: Vec<Value> = swept
        .failed
        .iter()
        .map(|failed| {
            json!({
                "seed": failed.seed,
                "property": failed.violation.property,
                "also": failed.violation.also,
                "what": failed.violation.what,
                "key": failed.violation.key,
            })
        })
        .collect();
    json!({
        "verdict": verdict,
        "seeds": swept.seeds,
        "failed": failed,
        "operations": topic(Topic::Operation),
        "faults": topic(Topic::Fault),
        "messages": topic(Topic::Message),
        "branches": topic(Topic::Note),
        "events": topic(Topic::Event),
        "never_happened": missing,
        "simulated_seconds": simulated_s(swept),
        "slowest_convergence": swept.slowest.map(|(seed, took)| {
            json!({ "seed": seed, "seconds": took as f64 / 1e6 })
        }),
        "cpu_seconds": swept.cpu.as_secs_f64(),
        "wall_seconds": swept.wall.as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_table_is_as_wide_as_the_terminal_and_cut_between_names() {
        let names: Vec<String> =
            (0..35).map(|n| format!("event {n}, {}", "more ".repeat(n % 5).trim())).collect();
        let mut swept = Swept { seeds: 10, wall: Duration::from_secs(1), ..Swept::default() };
        for name in &names {
            swept.tally.add_many(Topic::Event, name.clone(), 12_345);
        }
        swept.slowest = Some((7, 1_500_000));
        for width in [60, 80, 120] {
            let table = table(&swept, &names, width);
            let widest = table.lines().map(|line| line.chars().count()).max();
            assert!(widest.is_some_and(|widest| widest <= width), "{width}: {widest:?}\n{table}");
            // One that is longer than a line is cut between its words.
            let (longest, counted) = (width - 14 - FRAME, " 12345,".len());
            let fits = |name: &&String| name.len() + counted <= longest;
            let short: Vec<&String> = names.iter().filter(fits).collect();
            assert!(short.len() > names.len() / 2);
            for name in short {
                assert!(table.contains(&format!("{name} 12345")), "{name} is cut:\n{table}");
            }
        }
    }
}
