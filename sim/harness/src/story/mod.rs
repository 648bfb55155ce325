//! The story of a run: one list in the order of time, of what clients did, what went wrong meanwhile, what
//! operators changed, and the few messages that mattered; then what was violated, and what each node held.

mod lines;
pub mod narrator;

use std::fmt::Write as _;

use serde_json::{Value, json};

use self::{
    lines::lines,
    narrator::{Narrated, Narrator as _},
};
use crate::{
    run::Verdict,
    scenario::Setup as _,
    system::ScenarioOf,
    text::{TIED, ms, wrapped},
    violation::Violation,
};

/// Where the texts of lines begin.
const INDENT: usize = 22;

/// Tells the story of a run, in lines of so many characters.
pub fn story<S: Narrated>(scenario: &ScenarioOf<S>, verdict: &Verdict<S>, width: usize) -> String {
    let mut narrator = S::Narrator::new(verdict);
    let lines::Lines { lines, left_out, messages_left_out } =
        lines(scenario, verdict, &mut narrator);
    let mut text = String::new();
    let mut say = |line: &str, indent: usize| text.push_str(&wrapped(line, width, indent));
    say(&beginning(scenario, verdict), 2);
    let key = verdict.violation.as_ref().and_then(|violation| violation.key.as_deref());
    if let Some(legend) = key.and_then(|key| narrator.legend(key)) {
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
        let (ms, of) = (ms(line.at_us), &line.of);
        say(&format!("{mark}{ms:>11}  {of:<8}{}", line.text), INDENT);
    }
    match &verdict.violation {
        Some(violation) => {
            for (node, held) in &verdict.held {
                let held = narrator.held(key.unwrap_or_default(), held);
                say(&format!("{:>12}  n{node}, {held}", "in the end"), INDENT);
            }
            let what = narrator.named(key.unwrap_or_default(), &violation.what);
            say(&format!("violated: {}", Violation { what, ..violation.clone() }), 2);
        }
        None => say("all properties held", 0),
    }
    text.replace(TIED, " ")
}

fn beginning<S: Narrated>(scenario: &ScenarioOf<S>, verdict: &Verdict<S>) -> String {
    let count = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let (words, operations) = (scenario.cluster.words(), scenario.operations.len());
    let mut text = format!("seed {}: {words}; {}", scenario.seed, count(operations, "operation"));
    for (number, what) in [
        (scenario.faults.len(), "fault"),
        (scenario.changes.len(), S::CHANGE),
        (scenario.script.len(), "scripted step"),
    ] {
        if number > 0 {
            let _ = write!(text, ", {}", count(number, what));
        }
    }
    if let Some(node) = scenario.stale {
        let _ = write!(text, "; n{node} {}", S::BEHIND);
    }
    let _ = write!(text, "; {} events, log hash {:016x}", verdict.events, verdict.hash);
    text
}

/// The same for programs.
pub fn json<S: Narrated>(scenario: &ScenarioOf<S>, verdict: &Verdict<S>) -> Value {
    let violation = verdict.violation.as_ref().map(|violation| {
        let held = verdict.held.iter().map(|(node, held)| S::held_json(*node, held));
        json!({
            "property": violation.property,
            "also": violation.also,
            "what": violation.what,
            "key": violation.key,
            "operations": violation.operations,
            "held": held.collect::<Vec<_>>(),
        })
    });
    let history: Vec<Value> = verdict
        .history
        .iter()
        .map(|done| {
            json!({
                "client": done.client,
                "node": done.node,
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
