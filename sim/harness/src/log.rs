//! The event log of a run: hashed in sweeps, written as text for people and for comparisons.
//!
//! Both ways see the same events in the same order, so equal texts are equal hashes.

use std::{
    fmt,
    fmt::Write as _,
    hash::{Hash, Hasher},
};

use derive_where::derive_where;
use xxhash_rust::xxh3::Xxh3;

use crate::{fault::FaultKind, scenario::script::ScriptStep, system::System, world::network::Fate};

/// Something that happened.
#[derive_where(Hash)]
pub enum Event<'a, S: System> {
    /// A node sent a message: its number, sender, receiver.
    Sent(u64, u32, u32, &'a S::Message, Fate),
    /// A message arrived.
    Arrived(u64, u32),
    /// A message arrived at a node that does not run.
    ArrivedNowhere(u64, u32),
    /// The script lost a message.
    LostByScript(u64, u32),
    /// A timer fired.
    Fired(u32, &'a S::Timer),
    /// A journal was synced, so many entries are durable.
    Synced(u32, u64),
    /// A client asked: operation, client, node.
    Invoked(usize, u32, u32, &'a S::Action),
    /// A client was answered.
    Answered(usize, &'a S::Reply),
    /// A client was not answered: the node does not run, crashed, or is silent.
    Unanswered(usize, &'static str),
    /// A node took a branch that is seldom taken.
    Noted(u32, &'static str),
    /// A fault began.
    FaultBegan(&'a FaultKind),
    /// A fault ended.
    FaultEnded(&'a FaultKind),
    /// A node stopped, and so many entries were lost.
    Stopped(u32, usize),
    /// A node started.
    Started(u32),
    /// A node was asked for a change.
    Changed(u32, &'a S::Change),
    /// A step of the script is taken.
    Script(usize, &'a ScriptStep),
    /// The run went on to another phase.
    Phase(&'static str),
    /// A node found so many entries in its own journal, and so many are lost.
    Found(u32, u64, usize),
}

impl<S: System> fmt::Display for Event<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Sent(id, from, to, message, fate) => {
                let says = S::show_message(message);
                write!(f, "n{from} -> n{to} #{id} {says} {fate:?}")
            }
            Event::Arrived(id, to) => write!(f, "n{to} <- #{id}"),
            Event::ArrivedNowhere(id, to) => write!(f, "n{to} is down, #{id} is lost"),
            Event::LostByScript(id, to) => write!(f, "n{to} never gets #{id}"),
            Event::Fired(node, timer) => write!(f, "n{node} {}", S::show_timer(timer)),
            Event::Synced(node, upto) => write!(f, "n{node} synced {upto}"),
            Event::Invoked(op, client, node, action) => {
                write!(f, "op{op} c{client} asks n{node}: {action:?}")
            }
            Event::Answered(op, reply) => write!(f, "op{op} {}", S::show_reply(reply)),
            Event::Unanswered(op, why) => write!(f, "op{op} unanswered: {why}"),
            Event::Noted(node, note) => write!(f, "n{node} {note}"),
            Event::FaultBegan(kind) => write!(f, "fault begins: {kind:?}"),
            Event::FaultEnded(kind) => write!(f, "fault ends: {kind:?}"),
            Event::Stopped(node, lost) => write!(f, "n{node} stops, {lost} entries lost"),
            Event::Started(node) => write!(f, "n{node} starts"),
            Event::Changed(node, change) => write!(f, "n{node} is asked for {change:?}"),
            Event::Script(at, step) => write!(f, "step {at}: {step}"),
            Event::Phase(phase) => write!(f, "--- {phase}"),
            Event::Found(node, upto, lost) => {
                write!(f, "n{node} finds {upto} entries, and {lost} are lost")
            }
        }
    }
}

/// What a story may tell of a run.
#[derive_where(Clone, Debug)]
pub enum Happened<S: System> {
    /// A node sent a message: its number, sender, receiver.
    Sent(u64, u32, u32, S::Message, Fate),
    /// A message arrived.
    Arrived(u64),
    /// A message arrived at a node that does not run.
    ArrivedNowhere(u64),
    /// The script lost a message.
    LostByScript(u64),
    /// A client asked: a place in the history.
    Invoked(usize),
    /// It was answered, or gave up.
    Ended(usize),
    /// A fault began.
    FaultBegan(FaultKind),
    /// A fault ended.
    FaultEnded(FaultKind),
    /// A node stopped, and so many entries of its journal were lost.
    Stopped(u32, usize),
    /// A node started.
    Started(u32),
    /// A node was asked for a change.
    Asked(u32, S::Change),
    /// A step of the script is taken.
    Script(usize, ScriptStep),
    /// The run went on to another phase.
    Phase(&'static str),
    /// Something of the system's own: whose line it is, and what happened.
    Said(&'static str, String),
}

impl<S: System> Happened<S> {
    fn of(event: &Event<'_, S>) -> Option<Self> {
        Some(match event {
            Event::Sent(id, from, to, message, fate) => {
                if !S::is_told(message) {
                    return None;
                }
                Happened::Sent(*id, *from, *to, (*message).clone(), *fate)
            }
            Event::Arrived(id, _) => Happened::Arrived(*id),
            Event::ArrivedNowhere(id, _) => Happened::ArrivedNowhere(*id),
            Event::LostByScript(id, _) => Happened::LostByScript(*id),
            Event::Invoked(place, ..) => Happened::Invoked(*place),
            Event::FaultBegan(kind) => Happened::FaultBegan((*kind).clone()),
            Event::FaultEnded(kind) => Happened::FaultEnded((*kind).clone()),
            Event::Stopped(node, lost) => Happened::Stopped(*node, *lost),
            Event::Started(node) => Happened::Started(*node),
            Event::Changed(node, change) => Happened::Asked(*node, (*change).clone()),
            Event::Script(at, step) => Happened::Script(*at, (*step).clone()),
            Event::Phase(name) => Happened::Phase(name),
            // An answer that comes too late is none: the run says when an operation ends.
            Event::Answered(..) | Event::Unanswered(..) => return None,
            Event::Fired(..) | Event::Synced(..) | Event::Noted(..) | Event::Found(..) => {
                return None;
            }
        })
    }
}

/// What happened, and when, in microseconds of the run.
pub type Told<S> = Vec<(u64, Happened<S>)>;

/// The log of a run.
pub struct Log<S: System> {
    hash: Xxh3,
    text: Option<String>,
    told: Told<S>,
    events: u64,
}

impl<S: System> Log<S> {
    /// An empty log that keeps its text, and what a story tells, or only hashes.
    pub fn new(keep_text: bool) -> Self {
        let text = keep_text.then(String::new);
        Self { hash: Xxh3::new(), text, told: Vec::new(), events: 0 }
    }

    /// Something happened, so many microseconds into the run.
    pub fn record(&mut self, at: u64, event: &Event<'_, S>) {
        self.events += 1;
        at.hash(&mut self.hash);
        event.hash(&mut self.hash);
        if let Some(text) = &mut self.text {
            writeln!(text, "{:>10}.{:03} {event}", at / 1_000, at % 1_000)
                .expect("a string takes all text");
            self.told.extend(Happened::of(event).map(|happened| (at, happened)));
        }
    }

    /// Something happened that only a story tells: the log has it in other words.
    pub fn tell(&mut self, at: u64, happened: impl FnOnce() -> Happened<S>) {
        if self.text.is_some() {
            self.told.push((at, happened()));
        }
    }

    /// The log's hash.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The log's text, and what a story tells, if they were kept.
    pub fn into_text(self) -> (Option<String>, Told<S>) {
        (self.text, self.told)
    }
}
