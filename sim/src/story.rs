//! The story of a run: one list in the order of time, of what clients did, what went wrong meanwhile, how the
//! ring changed, and the few messages that mattered; then what was violated, and what each node held.

mod lines;
mod names;
mod words;

use std::fmt::Write as _;

use serde_json::{Value, json};

use self::{lines::lines, names::Names};
use crate::{check::Violation, run::Verdict, scenario::Scenario, text::wrapped};

/// Tells the story of a run, in lines of so many characters.
pub fn story(scenario: &Scenario, verdict: &Verdict, width: usize) -> String {
    let names = Names::new(verdict);
    let lines::Lines { lines, left_out, messages_left_out } = lines(scenario, verdict, &names);
    let mut text = String::new();
    let mut say = |line: &str, indent: usize| text.push_str(&wrapped(line, width, indent));
    say(&beginning(scenario, verdict), 2);
    let key = verdict.violation.as_ref().and_then(|violation| violation.key.as_deref());
    if let Some(key) = key {
        let legend = format!(
            "The key is {key:?}. v3@n2 is the third of its versions in their order, given by n2; > marks \
             the operations that show the violation."
        );
        say(&legend, 2);
    }
    for (count, what) in [(left_out, "operations"), (messages_left_out, "messages")] {
        if count > 0 {
            say(&format!("{count} earlier {what} are left out; --log FILE writes all."), 2);
        }
    }
    say(&format!("{:>12}", "ms"), 0);
    for line in &lines {
        let mark = if line.is_marked { ">" } else { " " };
        let (ms, of) = (lines::ms(line.at_us), &line.of);
        say(&format!("{mark}{ms:>11}  {of:<8}{}", line.text), INDENT);
    }
    if let (Some(violation), key) = (&verdict.violation, key.unwrap_or_default()) {
        for (node, is_owner, record) in &verdict.held {
            let role = if *is_owner { "an owner" } else { "no owner" };
            let held = names.record(key, record.as_ref());
            say(&format!("{:>12}  {node}, {role}, holds {held}", "in the end"), INDENT);
        }
        let what = names.named(key, &violation.what);
        say(&format!("violated: {}", Violation { what, ..violation.clone() }), 2);
    } else {
        say("all properties held", 0);
    }
    text.replace(words::TIED, " ")
}

/// Where the texts of lines begin.
const INDENT: usize = 22;

fn beginning(scenario: &Scenario, verdict: &Verdict) -> String {
    let count = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let mut text = format!(
        "seed {}: {}, R = {}; {}",
        scenario.seed,
        count(scenario.cluster.nodes as usize, "node"),
        scenario.cluster.replication,
        count(scenario.operations.len(), "operation"),
    );
    for (number, what) in [
        (scenario.faults.len(), "fault"),
        (scenario.changes.len(), "ring change"),
        (scenario.script.len(), "scripted step"),
    ] {
        if number > 0 {
            let _ = write!(text, ", {}", count(number, what));
        }
    }
    if let Some(node) = scenario.stale {
        let _ = write!(text, "; n{node} hears of no ring until the faults are healed");
    }
    let _ = write!(text, "; {} events, log hash {:016x}", verdict.events, verdict.hash);
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
