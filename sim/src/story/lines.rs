//! What happened, as lines in the order of time.

use std::collections::{BTreeMap, BTreeSet};

use kv::core::{
    message::{Body, Message},
    record::Version,
    types::{NodeId, OpId},
};

use super::{
    names::{Names, records},
    words,
};
use crate::{
    history::{Done, Outcome},
    log::Happened,
    run::Verdict,
    scenario::{Fault, Scenario},
    script::Step,
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

struct Teller<'a> {
    scenario: &'a Scenario,
    verdict: &'a Verdict,
    names: &'a Names,
    /// The key that all is about, if it is about one.
    key: Option<&'a str>,
    /// The operations that are told of, and those that show the violation.
    told: BTreeSet<usize>,
    marked: BTreeSet<usize>,
    /// The versions that matter.
    versions: BTreeSet<Version>,
    /// Messages on their way: sender, receiver, what they say, and when they were sent.
    flying: BTreeMap<u64, (NodeId, NodeId, &'a Message, u64)>,
    /// Which marked operation a coordinator asked for by which number.
    asked: BTreeMap<(NodeId, OpId), usize>,
    /// Which version arrived where.
    arrived: BTreeSet<(NodeId, Version)>,
    /// The step of the script that is taken.
    step: Option<usize>,
    changes: BTreeSet<String>,
    lines: Vec<Line>,
}

/// Tells of a run.
pub fn lines(scenario: &Scenario, verdict: &Verdict, names: &Names) -> Lines {
    let violation = verdict.violation.as_ref();
    let key = violation.and_then(|violation| violation.key.as_deref());
    let marked: BTreeSet<usize> =
        violation.iter().flat_map(|violation| violation.operations.iter().copied()).collect();
    let (told, left_out) = chosen(verdict, key, &marked);
    let mut versions: BTreeSet<Version> =
        marked.iter().filter_map(|place| verdict.history.get(*place)?.version()).collect();
    // What the owners end with matters where that is wrong; else nothing does that came later.
    let ends = marked.iter().filter_map(|place| verdict.history.get(*place)?.returned_us).max();
    let ends = ends.filter(|_| violation.is_some_and(|v| !matches!(v.property, "P1" | "P5")));
    if ends.is_none() {
        let held = verdict.held.iter().filter_map(|(_, _, held)| Some(held.as_ref()?.version));
        versions.extend(held);
    }
    let mut teller = Teller {
        scenario,
        verdict,
        names,
        key,
        told,
        marked,
        versions,
        flying: BTreeMap::new(),
        asked: BTreeMap::new(),
        arrived: BTreeSet::new(),
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

/// The last operations up to the last one that shows the violation, and the writes of what these found.
fn chosen(
    verdict: &Verdict,
    key: Option<&str>,
    marked: &BTreeSet<usize>,
) -> (BTreeSet<usize>, usize) {
    let history = &verdict.history;
    let last = marked.last().copied().unwrap_or(usize::MAX);
    let is_of_key = |done: &Done| key.is_none_or(|key| done.action.key() == key);
    let of_key: Vec<usize> =
        (0..history.len()).filter(|place| *place <= last && is_of_key(&history[*place])).collect();
    let from = of_key.len().saturating_sub(MOST_OPERATIONS);
    let mut told: BTreeSet<usize> = of_key[from..].iter().copied().chain(marked.clone()).collect();
    let found: BTreeSet<Version> =
        marked.iter().filter_map(|place| history.get(*place)?.version()).collect();
    told.extend(of_key.iter().copied().filter(|place| match &history[*place].outcome {
        Outcome::Written(version) => found.contains(version),
        Outcome::Found(_) | Outcome::Failed(_) | Outcome::Unknown(_) => false,
    }));
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

impl<'a> Teller<'a> {
    fn say(&mut self, at_us: u64, of: impl Into<String>, text: impl Into<String>) {
        self.lines.push(Line { at_us, is_marked: false, of: of.into(), text: text.into() });
    }

    fn tell(&mut self, at: u64, happened: &'a Happened) {
        match happened {
            Happened::Invoked(place) => self.begin(at, *place),
            Happened::Ended(place) => self.end(at, *place),
            Happened::Sent(id, from, to, message, fate) => {
                self.flying.insert(*id, (*from, *to, message, at));
                self.note_question(at, *from, message);
                if let Some(lost) = words::lost(*fate) {
                    self.message(at, *id, lost);
                }
            }
            Happened::Arrived(id) => self.message(at, *id, ""),
            Happened::ArrivedNowhere(id) => {
                self.message(at, *id, "LOST: its receiver does not run")
            }
            Happened::LostByScript(id) => self.message(at, *id, "LOST"),
            Happened::FaultBegan(kind) => {
                let is_it = |fault: &&Fault| fault.kind == *kind && fault.at_ms * 1_000 == at;
                let fault = self.scenario.faults.iter().find(is_it);
                let length = fault.map(|fault| words::length(fault.for_ms * 1_000));
                let length = length.map(|length| format!(", for {length}")).unwrap_or_default();
                self.say(at, "fault", words::fault(kind) + &length);
            }
            Happened::FaultEnded(kind) => self.say(at, "fault", words::fault_end(kind)),
            Happened::Stopped(node, 0) => self.say(at, "node", format!("{node} stops")),
            Happened::Stopped(node, lost) => {
                let text = format!("{node} stops; {lost} entries of its journal were not durable");
                self.say(at, "node", text);
            }
            // That all start at the beginning goes without saying.
            Happened::Started(_) if at == 0 => {}
            Happened::Started(node) => self.say(at, "node", format!("{node} starts")),
            Happened::Asked(node, change) => {
                // What does not show is asked for again and again.
                let change = words::change(change);
                if self.changes.insert(change.clone()) {
                    self.say(at, "ring", format!("{node} is asked {change}"));
                }
            }
            Happened::Ring(ring) => self.say(at, "ring", words::ring(ring)),
            Happened::Script(number, step) => self.step(at, *number, step),
            Happened::Phase(name) => self.phase(at, name),
        }
    }

    fn phase(&mut self, at: u64, name: &str) {
        self.step = None;
        let text = match name {
            "load" => return,
            "heal" => "all faults are healed",
            "serve" => "all owners hold the same; every node is asked",
            "settle" => "every node has served",
            other => other,
        };
        self.say(at, "phase", text);
    }

    fn step(&mut self, at: u64, number: usize, step: &Step) {
        self.step = Some(number);
        match step {
            Step::Fire(node, timer) => {
                let text = format!("the {timer:?} timer of {} fires", NodeId(*node));
                self.say(at, format!("step {number}"), text);
            }
            // What these do is told of as it happens.
            Step::Ask(_) | Step::Deliver(_) | Step::Lose(_) | Step::Double(_) | Step::Crash(_) => {}
        }
    }

    fn begin(&mut self, at: u64, place: usize) {
        if !self.told.contains(&place) {
            return;
        }
        let done = &self.verdict.history[place];
        let client = match done.client {
            u32::MAX => "auditor".to_string(),
            client => format!("c{client}"),
        };
        let action = words::action(&done.action, self.key.is_none());
        let text = format!("{client} asks {}: {action}", done.node);
        let is_marked = self.marked.contains(&place);
        self.lines.push(Line { at_us: at, is_marked, of: format!("op {place}"), text });
    }

    fn end(&mut self, at: u64, place: usize) {
        if !self.told.contains(&place) {
            return;
        }
        let done = &self.verdict.history[place];
        let key = done.action.key();
        let answer = match &done.outcome {
            Outcome::Written(version) => format!("ok {}", self.names.version(key, *version)),
            Outcome::Found(record) => format!("found {}", self.names.record(key, record.as_ref())),
            Outcome::Failed(why) => format!("failed: {why}"),
            Outcome::Unknown(why) => format!("unknown: {why}"),
        };
        let took = match at - done.invoked_us {
            0 => String::new(),
            took => format!(", after {}", words::length(took)),
        };
        let is_marked = self.marked.contains(&place);
        let text = format!("{ENDS}{answer}{took}");
        self.lines.push(Line { at_us: at, is_marked, of: format!("op {place}"), text });
    }

    /// What a coordinator asks for an operation that shows the violation.
    fn note_question(&mut self, at: u64, from: NodeId, message: &Message) {
        let (op, key) = match &message.body {
            Body::Write { op, key, .. } | Body::Read { op, key } => (*op, key),
            _ => return,
        };
        if self.asked.contains_key(&(from, op)) {
            return;
        }
        let history = &self.verdict.history;
        let is_it = |place: &&usize| {
            history.get(**place).is_some_and(|done| {
                let is_under_way =
                    done.invoked_us <= at && done.returned_us.is_none_or(|returned| at <= returned);
                is_under_way && done.node == from && done.action.key() == key.as_str()
            })
        };
        if let Some(place) = self.marked.iter().rev().find(is_it) {
            self.asked.insert((from, op), *place);
        }
    }

    /// A message that arrived, or did not: told of where it mattered.
    fn message(&mut self, at: u64, id: u64, lost: &str) {
        let Some((from, to, message, sent_us)) = self.flying.get(&id).copied() else { return };
        let Some(what) = self.what_matters(from, to, message, lost.is_empty()) else { return };
        let of = self.step.map(|step| format!("step {step}")).unwrap_or_default();
        let sent = match lost.is_empty() && self.step.is_none() {
            true => format!(" (sent at {})", ms(sent_us)),
            false => String::new(),
        };
        let lost = if lost.is_empty() { String::new() } else { format!("  {lost}") };
        self.say(at, of, format!("{from} -> {to}  {what}{sent}{lost}"));
    }

    /// What a message says, if that mattered: it brings a version that matters to a node that has not had it, or
    /// answers an operation that shows the violation. Each step of a script matters.
    fn what_matters(
        &mut self,
        from: NodeId,
        to: NodeId,
        message: &Message,
        arrives: bool,
    ) -> Option<String> {
        let verb = words::verb(&message.body);
        if let Body::Found { op, record } = &message.body {
            let place = self.asked.get(&(to, *op)).copied();
            let key = match place {
                Some(place) => self.verdict.history[place].action.key(),
                None if self.step.is_some() => self.scenario.operations.first()?.action.key(),
                None => return None,
            };
            let for_op = place.map(|place| format!(", for op {place}")).unwrap_or_default();
            return Some(format!("{verb} {}{for_op}", self.names.record(key, record.as_ref())));
        }
        let carried = records(&message.body);
        if self.step.is_some() {
            let each = carried.iter().map(|(key, r)| self.names.version(key.as_str(), r.version));
            let each: Vec<String> = each.collect();
            return Some(format!("{verb} {}", each.join(", ")).trim_end().to_string());
        }
        let key = self.key?;
        let (_, record) = carried.into_iter().find(|(of, _)| of.as_str() == key)?;
        let is_wanted = self.versions.contains(&record.version);
        let is_first = is_wanted && from != to && !self.arrived.contains(&(to, record.version));
        if is_first && arrives {
            self.arrived.insert((to, record.version));
        }
        is_first.then(|| format!("{verb} {}", self.names.version(key, record.version)))
    }
}

/// A moment of the run in milliseconds.
pub fn ms(us: u64) -> String {
    format!("{}.{:03}", us / 1_000, us % 1_000)
}
