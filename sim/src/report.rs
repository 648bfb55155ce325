//! What people and programs are shown of a sweep.

use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};
use serde_json::{Value, json};

use crate::{
    sweep::Swept,
    tally::{Tally, Topic},
};

/// The table of a sweep.
pub fn table(swept: &Swept, missing: &[String]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    let mut row = |name: &str, text: String| {
        table.add_row([name.to_string(), text]);
    };
    row("seeds", format!("{} run, {} fell", swept.seeds, swept.fallen.len()));
    row("operations", listed(&swept.tally, Topic::Operation));
    row("faults", listed(&swept.tally, Topic::Fault));
    row("messages", listed(&swept.tally, Topic::Message));
    row("branches", listed(&swept.tally, Topic::Note));
    row("events", listed(&swept.tally, Topic::Event));
    if let Some((seed, took)) = swept.slowest {
        let text = format!("at most {:.1} s until all converged (seed {seed})", took as f64 / 1e6);
        row("after healing", text);
    }
    row("simulated time", format!("{:.0} s", simulated_s(swept)));
    row(
        "speed",
        format!(
            "{:.0} simulated seconds and {:.0} messages per CPU second ({:.1} s of CPU, {:.1} s of time)",
            simulated_s(swept) / cpu_s(swept),
            swept.tally.count(Topic::Message, "delivered") as f64 / cpu_s(swept),
            cpu_s(swept),
            swept.wall.as_secs_f64(),
        ),
    );
    row("never happened", if missing.is_empty() { "-".into() } else { missing.join(", ") });
    table.to_string()
}

fn simulated_s(swept: &Swept) -> f64 {
    swept.simulated_us as f64 / 1e6
}

fn cpu_s(swept: &Swept) -> f64 {
    swept.cpu.as_secs_f64().max(1e-9)
}

fn listed(tally: &Tally, topic: Topic) -> String {
    let total = tally.total(topic);
    let each: Vec<String> = tally.of(topic).map(|(name, n)| format!("{name} {n}")).collect();
    let mut text = total.to_string();
    for (place, part) in each.iter().enumerate() {
        let separator = match place % 5 {
            0 => "\n  ",
            _ => " · ",
        };
        text.push_str(separator);
        text.push_str(part);
    }
    text
}

/// The same for programs.
pub fn json(swept: &Swept, missing: &[String], verdict: &str) -> Value {
    let topic = |topic| -> Value {
        swept.tally.of(topic).map(|(name, count)| (name.to_string(), json!(count))).collect()
    };
    let fallen: Vec<Value> = swept
        .fallen
        .iter()
        .map(|fallen| {
            json!({
                "seed": fallen.seed,
                "property": fallen.violation.property,
                "also": fallen.violation.also,
                "what": fallen.violation.what,
                "key": fallen.violation.key,
            })
        })
        .collect();
    json!({
        "verdict": verdict,
        "seeds": swept.seeds,
        "fallen": fallen,
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
