//! The story of a run that fell: what clients did with the key, what went wrong meanwhile, and what
//! each owner held.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    check::Violation,
    history::{Done, Outcome},
    run::Verdict,
    scenario::{Action, Scenario},
};

/// Operations that a story tells of at most.
const MOST: usize = 60;

/// Tells the story of a run.
pub fn story(scenario: &Scenario, verdict: &Verdict) -> String {
    let mut text = String::new();
    let cluster = &scenario.cluster;
    let _ = writeln!(
        text,
        "seed {}: {} nodes, R = {}, {} operations, {} faults, {} ring changes",
        scenario.seed,
        cluster.nodes,
        cluster.replication,
        scenario.operations.len(),
        scenario.faults.len(),
        scenario.changes.len(),
    );
    let _ = writeln!(text, "log hash {:016x}, {} events", verdict.hash, verdict.events);
    for fault in &scenario.faults {
        let (from, upto) = (fault.at_ms, fault.at_ms + fault.for_ms);
        let _ = writeln!(text, "  {from:>7} ms  to {upto:>6} ms  {:?}", fault.kind);
    }
    if let (false, Some(log)) = (scenario.script.is_empty(), &verdict.text) {
        tell_script(&mut text, log);
    }
    for change in &scenario.changes {
        let _ = writeln!(text, "  {:>7} ms  {:?}", change.at_ms, change.kind);
    }
    match &verdict.violation {
        None => {
            for done in &verdict.history {
                tell(&mut text, done, None);
            }
            let _ = writeln!(text, "all properties held");
        }
        Some(violation) => {
            tell_violation(&mut text, verdict, violation);
            for (node, is_owner, record) in &verdict.held {
                let role = if *is_owner { "owner" } else { "no owner" };
                let record = record.as_ref().map_or("nothing".into(), ToString::to_string);
                let _ = writeln!(text, "  {node} ({role}) holds {record}");
            }
            if let Some(log) = &verdict.text {
                tell_versions(&mut text, log, verdict, violation);
            }
            let _ = writeln!(text, "{violation}");
        }
    }
    text
}

/// The same for programs.
pub fn json(scenario: &Scenario, verdict: &Verdict) -> Value {
    let violation = verdict.violation.as_ref().map(|violation| {
        json!({
            "property": violation.property,
            "also": violation.also,
            "what": violation.what,
            "key": violation.key,
            "operations": violation.operations,
            "held": verdict.held.iter().map(|(node, is_owner, record)| json!({
                "node": node.0,
                "owner": is_owner,
                "record": record.as_ref().map(ToString::to_string),
            })).collect::<Vec<_>>(),
        })
    });
    let history: Vec<Value> = verdict
        .history
        .iter()
        .map(|done| {
            json!({
                "client": done.client,
                "node": done.node.0,
                "asked": format!("{:?}", done.action),
                "invoked_us": done.invoked_us,
                "returned_us": done.returned_us,
                "outcome": format!("{:?}", done.outcome),
            })
        })
        .collect();
    json!({
        "seed": scenario.seed,
        "violation": violation,
        "log_hash": format!("{:016x}", verdict.hash),
        "events": verdict.events,
        "history": history,
    })
}

/// What clients did with the key, and which operations show it.
fn tell_violation(text: &mut String, verdict: &Verdict, violation: &Violation) {
    let Some(key) = &violation.key else { return };
    let _ = writeln!(text, "what clients did with {key:?}:");
    let of_key: Vec<(usize, &Done)> =
        (verdict.history.iter().enumerate()).filter(|(_, done)| done.action.key() == key).collect();
    // The end of the story is where it goes wrong: near the operations that show it.
    let last = violation.operations.iter().max().copied().unwrap_or(usize::MAX);
    let upto = of_key.iter().position(|(place, _)| *place > last).unwrap_or(of_key.len());
    let from = upto.saturating_sub(MOST);
    if from > 0 {
        let _ = writeln!(text, "  ({from} earlier operations are left out)");
    }
    for (place, done) in &of_key[from..upto] {
        let mark = violation.operations.contains(place).then_some(*place);
        tell(text, done, mark.or(Some(usize::MAX)));
    }
}

/// Step by step, what a script made happen.
fn tell_script(text: &mut String, log: &str) {
    let _ = writeln!(text, "the script, step by step:");
    let events = log.lines().filter_map(|line| line.trim_start().split_once(' '));
    for (_, event) in events.take_while(|(_, event)| !event.starts_with("--- the script")) {
        let indent = if event.starts_with("step ") { 2 } else { 6 };
        // All messages wait for the script: that goes without saying.
        let event = event.strip_suffix(" Waits").unwrap_or(event);
        let _ = writeln!(text, "{:indent$}{event}", "");
    }
}

/// When a line of the log happened: it begins with milliseconds, with three decimals.
fn time_us(line: &str) -> Option<u64> {
    let (ms, us) = line.split_whitespace().next()?.split_once('.')?;
    Some(ms.parse::<u64>().ok()? * 1_000 + us.parse::<u64>().ok()?)
}

fn tell(text: &mut String, done: &Done, mark: Option<usize>) {
    let from = done.invoked_us as f64 / 1_000.0;
    let upto =
        done.returned_us.map_or("        …".into(), |us| format!("{:>9.3}", us as f64 / 1_000.0));
    let asked = match &done.action {
        Action::Put(key, value, level) => format!("put {key:?} {value:?} at {level}"),
        Action::Delete(key, level) => format!("delete {key:?} at {level}"),
        Action::Get(key, level) => format!("get {key:?} at {level}"),
    };
    let answer = match &done.outcome {
        Outcome::Written(version) => format!("ok {version}"),
        Outcome::Found(Some(record)) => format!("found {record}"),
        Outcome::Found(None) => "found nothing".into(),
        Outcome::Failed(why) => format!("failed: {why}"),
        Outcome::Unknown(why) => format!("unknown: {why}"),
    };
    let mark = if mark.is_some_and(|place| place != usize::MAX) { ">" } else { " " };
    let (client, node) = (done.client, done.node);
    let client = if client == u32::MAX { "auditor".into() } else { format!("c{client}") };
    let _ =
        writeln!(text, "{mark} {from:>9.3} {upto} ms  {client:<7} {node}  {asked:<34} {answer}");
}

/// The last messages about the key until it went wrong: what went to which owner, and what became of
/// it.
fn tell_versions(text: &mut String, log: &str, verdict: &Verdict, violation: &Violation) {
    let Some(key) = &violation.key else { return };
    let mention = format!("{key:?}");
    let ends = violation.operations.iter().filter_map(|place| verdict.history.get(*place));
    let upto_us = ends.filter_map(|done| done.returned_us).max().unwrap_or(u64::MAX);
    let is_before = |line: &&str| time_us(line).is_none_or(|us| us <= upto_us);
    let lines: Vec<&str> =
        log.lines().filter(|line| line.contains(&mention)).take_while(is_before).collect();
    let _ = writeln!(text, "the key's last messages (milliseconds, sender -> receiver):");
    for line in &lines[lines.len().saturating_sub(MOST / 2)..] {
        let _ = writeln!(text, "  {line}");
    }
}
