//! What happened, as lines in the order of time.

use std::collections::{BTreeMap, BTreeSet};

use super::narrator::{Message, Narrated, Narrator as _, is_about};
use crate::{
    fault::Fault,
    history::Outcome,
    log::Happened,
    run::{Verdict, clients::AUDITOR},
    scenario::script::ScriptStep,
    system::ScenarioOf,
    text::{length, ms},
    world::network::Fate,
};

/// Operations that a story tells of at most, beside those that show the violation.
const MOST_OPERATIONS: usize = 20;
/// Messages that a story tells of at most: the last ones.
const MOST_MESSAGES: usize = 24;

/// A line of a story.
pub struct Line {
    /// When, in microseconds of the run.
    pub at_us: u64,
    /// Whether it shows the violation.
    pub is_marked: bool,
    /// Whose line it is: `op 3`, `fault`, `ring`.
    pub of: String,
    /// What happened.
    pub text: String,
}

/// The lines of a run, and how many operations and messages were left out.
pub struct Lines {
    /// In the order of time.
    pub lines: Vec<Line>,
    /// Earlier operations that are not told of.
    pub left_out: usize,
    /// Earlier messages that are not told of.
    pub messages_left_out: usize,
}

struct Teller<'a, S: Narrated> {
    scenario: &'a ScenarioOf<S>,
    verdict: &'a Verdict<S>,
    narrator: &'a mut S::Narrator,
    /// Whether all is about one key.
    is_of_a_key: bool,
    /// The operations that are told of, and those that show the violation.
    told: BTreeSet<usize>,
    marked: BTreeSet<usize>,
    /// Messages on their way: sender, receiver, what they say, and when they were sent.
    flying: BTreeMap<u64, (u32, u32, &'a S::Message, u64)>,
    /// The step of the script that is taken.
    step: Option<usize>,
    changes: BTreeSet<String>,
    lines: Vec<Line>,
}

/// Tells of a run.
pub fn lines<S: Narrated>(
    scenario: &ScenarioOf<S>,
    verdict: &Verdict<S>,
    narrator: &mut S::Narrator,
) -> Lines {
    let violation = verdict.violation.as_ref();
    let key = violation.and_then(|violation| violation.key.as_deref());
    let marked: BTreeSet<usize> =
        violation.iter().flat_map(|violation| violation.operations.iter().copied()).collect();
    let (told, left_out) = chosen(verdict, narrator, key, &marked);
    // What nodes end with matters where that is wrong; else nothing does that came later.
    let ends = marked.iter().filter_map(|place| verdict.history.get(*place)?.returned_us).max();
    let ends = ends.filter(|_| violation.is_some_and(|v| !narrator.is_about_the_end(v.property)));
    let mut teller = Teller {
        scenario,
        verdict,
        narrator,
        is_of_a_key: key.is_some(),
        told,
        marked,
        flying: BTreeMap::new(),
        step: None,
        changes: BTreeSet::new(),
        lines: Vec::new(),
    };
    for (at, happened) in &verdict.told {
        teller.tell(*at, happened);
    }
    let mut lines = teller.lines;
    lines.retain(|line| ends.is_none_or(|ends| line.at_us <= ends));
    let messages = lines.iter().filter(|line| line.of.is_empty()).count();
    let messages_left_out = messages.saturating_sub(MOST_MESSAGES);
    let mut to_leave_out = messages_left_out;
    lines.retain(|line| {
        let is_left_out = line.of.is_empty() && to_leave_out > 0;
        to_leave_out -= usize::from(is_left_out);
        !is_left_out
    });
    Lines { lines: joined(lines), left_out, messages_left_out }
}

/// The last operations up to the last one that shows the violation, and those that belong to these.
fn chosen<S: Narrated>(
    verdict: &Verdict<S>,
    narrator: &S::Narrator,
    key: Option<&str>,
    marked: &BTreeSet<usize>,
) -> (BTreeSet<usize>, usize) {
    let history = &verdict.history;
    let last = marked.last().copied().unwrap_or(usize::MAX);
    let is_of_key = |place: &usize| *place <= last && is_about::<S>(&history[*place], key);
    let of_key: Vec<usize> = (0..history.len()).filter(is_of_key).collect();
    let from = of_key.len().saturating_sub(MOST_OPERATIONS);
    let mut told: BTreeSet<usize> = of_key[from..].iter().copied().chain(marked.clone()).collect();
    let related = narrator.related(verdict, marked);
    told.extend(of_key.iter().copied().filter(|place| related.contains(place)));
    let left_out = of_key.len() - of_key.iter().filter(|place| told.contains(place)).count();
    (told, left_out)
}

/// The beginning and the end of an operation are one line where nothing is told of between them.
fn joined(lines: Vec<Line>) -> Vec<Line> {
    let mut joined: Vec<Line> = Vec::new();
    for line in lines {
        match joined.last_mut() {
            Some(before) if before.of == line.of && line.text.starts_with(ENDS) => {
                before.text = format!("{}: {}", before.text, &line.text[ENDS.len()..]);
            }
            Some(_) | None => joined.push(line),
        }
    }
    joined
}

/// How the end of an operation begins.
const ENDS: &str = "… ";

impl<'a, S: Narrated> Teller<'a, S> {
    fn say(&mut self, at_us: u64, of: impl Into<String>, text: impl Into<String>) {
        self.lines.push(Line { at_us, is_marked: false, of: of.into(), text: text.into() });
    }

    fn tell(&mut self, at: u64, happened: &'a Happened<S>) {
        match happened {
            Happened::Invoked(place) => self.begin(at, *place),
            Happened::Ended(place) => self.end(at, *place),
            Happened::Sent(id, from, to, message, fate) => {
                self.flying.insert(*id, (*from, *to, message, at));
                self.narrator.sent(self.verdict, at, *from, message);
                if let Some(lost) = lost(*fate) {
                    self.message(at, *id, lost);
                }
            }
            Happened::Arrived(id) => self.message(at, *id, ""),
            Happened::ArrivedNowhere(id) => {
                self.message(at, *id, "LOST: its receiver does not run");
            }
            Happened::LostByScript(id) => self.message(at, *id, "LOST"),
            Happened::FaultBegan(kind) => {
                let is_it = |fault: &&Fault| fault.kind == *kind && fault.at_ms * 1_000 == at;
                let fault = self.scenario.faults.iter().find(is_it);
                let lasts = fault.map(|fault| length(fault.for_ms * 1_000));
                let lasts = lasts.map(|length| format!(", for {length}")).unwrap_or_default();
                self.say(at, "fault", kind.beginning() + &lasts);
            }
            Happened::FaultEnded(kind) => self.say(at, "fault", kind.ending()),
            Happened::Stopped(node, 0) => self.say(at, "node", format!("n{node} stops")),
            Happened::Stopped(node, lost) => {
                let text = format!("n{node} stops; {lost} entries of its journal were not durable");
                self.say(at, "node", text);
            }
            // That all start at the beginning goes without saying.
            Happened::Started(_) if at == 0 => {}
            Happened::Started(node) => self.say(at, "node", format!("n{node} starts")),
            Happened::Asked(node, change) => {
                let (of, text) = self.narrator.change(*node, change);
                // What does not show is asked for again and again.
                if self.changes.insert(format!("{change:?}")) {
                    self.say(at, of, text);
                }
            }
            Happened::Said(of, text) => self.say(at, *of, text),
            Happened::Script(number, step) => self.step(at, *number, step),
            Happened::Phase(name) => self.phase(at, name),
        }
    }

    fn phase(&mut self, at: u64, name: &str) {
        self.step = None;
        let text = match name {
            "load" => return,
            "heal" => "all faults are healed",
            "serve" => "the cluster has converged; every node is asked",
            "settle" => "every node has served",
            other => other,
        };
        self.say(at, "phase", text);
    }

    fn step(&mut self, at: u64, number: usize, step: &ScriptStep) {
        self.step = Some(number);
        match step {
            ScriptStep::Fire(node, timer) => {
                let text = format!("the {timer} timer of n{node} fires");
                self.say(at, format!("step {number}"), text);
            }
            // What these do is told of as it happens.
            ScriptStep::Ask(_)
            | ScriptStep::Deliver(_)
            | ScriptStep::Lose(_)
            | ScriptStep::Double(_)
            | ScriptStep::Crash(_) => {}
        }
    }

    fn begin(&mut self, at: u64, place: usize) {
        if !self.told.contains(&place) {
            return;
        }
        let done = &self.verdict.history[place];
        let client = match done.client {
            AUDITOR => "auditor".to_string(),
            client => format!("c{client}"),
        };
        let action = self.narrator.action(&done.action, !self.is_of_a_key);
        let text = format!("{client} asks n{}: {action}", done.node);
        let is_marked = self.marked.contains(&place);
        self.lines.push(Line { at_us: at, is_marked, of: format!("op {place}"), text });
    }

    fn end(&mut self, at: u64, place: usize) {
        if !self.told.contains(&place) {
            return;
        }
        let done = &self.verdict.history[place];
        let answer = match &done.outcome {
            Outcome::Ok(answer) => self.narrator.answer(done, answer),
            Outcome::Failed(why) => format!("failed: {why}"),
            Outcome::Unknown(why) => format!("unknown: {why}"),
        };
        let took = match at - done.invoked_us {
            0 => String::new(),
            took => format!(", after {}", length(took)),
        };
        let is_marked = self.marked.contains(&place);
        let text = format!("{ENDS}{answer}{took}");
        self.lines.push(Line { at_us: at, is_marked, of: format!("op {place}"), text });
    }

    /// A message that arrived, or did not: told of where it mattered.
    fn message(&mut self, at: u64, id: u64, lost: &str) {
        let Some((from, to, message, sent_us)) = self.flying.get(&id).copied() else { return };
        let (arrives, is_scripted) = (lost.is_empty(), self.step.is_some());
        let seen = Message { from, to, message, arrives, is_scripted };
        let Some(what) = self.narrator.message(self.verdict, &seen) else { return };
        let of = self.step.map(|step| format!("step {step}")).unwrap_or_default();
        let sent = match arrives && !is_scripted {
            true => format!(" (sent at {})", ms(sent_us)),
            false => String::new(),
        };
        let lost = if arrives { String::new() } else { format!("  {lost}") };
        self.say(at, of, format!("n{from} -> n{to}  {what}{sent}{lost}"));
    }
}

/// Why a message never arrives. None: it does.
fn lost(fate: Fate) -> Option<&'static str> {
    match fate {
        Fate::Lost => Some("LOST by chance"),
        Fate::Cut => Some("LOST: the link is cut"),
        Fate::Arrives(_) | Fate::Twice(..) | Fate::HeldBack(_) | Fate::Waits => None,
    }
}
