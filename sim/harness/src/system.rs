//! What is tested: a program of which several nodes run, and the clients that use it.
//!
//! A node is given one input at a time, and has effects through its [`Io`] only. Whatever else it would ask of
//! the world (the time, randomness, threads) makes a run that cannot be repeated.

use std::{cell::RefCell, fmt::Debug, hash::Hash, rc::Rc};

use derive_where::derive_where;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    disk::Disk,
    history::{Done, Outcome},
    journal::{Opened, Unopened},
    scenario::{Action, Scenario, Setup},
    tally::Tally,
    world::disk::Journal,
};

/// What is tested. Nodes are numbered from 1, and shown as n1, n2, …
pub trait System: Sized + 'static {
    /// The cluster, as scenarios have it.
    type Setup: Setup;
    /// What a node's process is started with.
    type Birth: Clone;
    /// A node that runs.
    type Node;
    /// What nodes say to each other.
    type Message: Clone + Debug + Hash;
    /// A timer of a node.
    type Timer: Clone + Debug + Hash + Ord;
    /// What a node's journal keeps.
    type Entry: Clone + Debug;
    /// What clients do, as scenarios have it.
    type Action: Action;
    /// The same on its way to a node.
    type Ask: Clone + Debug;
    /// What a node answers.
    type Reply: Clone + Debug + Hash;
    /// What a reply tells a client that has its answer.
    type Answer: Clone + Debug;
    /// What a client remembers between its operations.
    type Client;
    /// What operators want changed, as scenarios have it.
    type Wish: Clone + Debug + PartialEq + Serialize + DeserializeOwned;
    /// What an operator asks a node for.
    type Change: Clone + Debug + Hash;

    /// Starts a node, on what its journal kept.
    fn start(
        setup: &Self::Setup,
        node: u32,
        birth: Self::Birth,
        kept: Vec<Self::Entry>,
        io: Io<Self>,
    ) -> Self::Node;

    /// Opens the journal that a node brings along, on its machine's disk. Asked only where [`Setup::disks`] says that
    /// there are disks.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    fn open_journal(
        setup: &Self::Setup,
        node: u32,
        disk: Disk,
        tally: &mut Tally,
    ) -> Result<Opened<Self::Entry>, Unopened<Self::Entry>> {
        let _ = (setup, node, disk, tally);
        unreachable!("nodes with disks bring journals along")
    }

    /// Whether entries that were found in a node's own journal say what these ones say, of which some were cleaned
    /// away.
    fn says_the_same(found: &[Self::Entry], appended: &[Self::Entry]) -> bool {
        let _ = (found, appended);
        true
    }

    /// How many entries of a node's own journal still count, about.
    fn live_entries(node: &Self::Node) -> u64 {
        let _ = node;
        0
    }

    /// A node's own journal is cleaned: the node appends those of these entries once more that still count.
    fn append_again(node: &Self::Node, entries: Vec<Self::Entry>) {
        let _ = (node, entries);
    }

    /// Gives a node something. A panic is a violated invariant.
    fn step(node: &mut Self::Node, input: Input<Self>, io: &Io<Self>);

    /// Lets a node look at its clocks, as its process does also when nothing happens.
    fn look(node: &mut Self::Node) {
        let _ = node;
    }

    /// How often a node looks at its clocks, in microseconds. None: it does not.
    fn look_every_us(setup: &Self::Setup) -> Option<u64> {
        let _ = setup;
        None
    }

    /// Panics where an invariant of a node is violated: asked when a cluster has converged.
    fn check(node: &Self::Node) {
        let _ = node;
    }

    /// Whether a node that is kept behind does not get this message.
    fn is_news(message: &Self::Message) -> bool {
        let _ = message;
        false
    }

    /// Whether a story may tell of this message.
    fn is_told(message: &Self::Message) -> bool {
        let _ = message;
        true
    }

    /// A message in logs.
    fn show_message(message: &Self::Message) -> String {
        format!("{message:?}")
    }

    /// A timer in logs.
    fn show_timer(timer: &Self::Timer) -> String {
        format!("{timer:?}")
    }

    /// A reply in logs.
    fn show_reply(reply: &Self::Reply) -> String {
        format!("{reply:?}")
    }

    /// How a script names a message.
    fn message_name(message: &Self::Message) -> String {
        Self::show_message(message)
    }

    /// How a script names a timer.
    fn timer_name(timer: &Self::Timer) -> String {
        Self::show_timer(timer)
    }

    /// How long a client waits for an answer, in microseconds.
    fn patience_us(setup: &Self::Setup) -> u64;

    /// A client that did nothing yet.
    fn client(setup: &Self::Setup) -> Self::Client;

    /// A client asks a node that runs. No two operations have one ticket, so it can name who asked. The auditor, which
    /// asks the nodes when the cluster has converged, is no client and remembers nothing.
    fn ask(
        client: Option<&mut Self::Client>,
        ticket: u64,
        action: &Self::Action,
        node: &Self::Node,
        tally: &mut Tally,
    ) -> Self::Ask;

    /// What a reply tells the client.
    fn outcome(
        client: Option<&Self::Client>,
        done: &DoneOf<Self>,
        reply: Self::Reply,
        node: Option<&Self::Node>,
    ) -> Outcome<Self::Answer>;

    /// An operation is over, and the client may remember something of it.
    fn ended(client: &mut Self::Client, ticket: u64, done: &DoneOf<Self>) {
        let _ = (client, ticket, done);
    }

    /// An answer came to a client that had given up.
    fn came_too_late(outcome: &Outcome<Self::Answer>, tally: &mut Tally) {
        let _ = (outcome, tally);
    }

    /// The same operation, asked again after it failed.
    fn again(action: &mut Self::Action) {
        let _ = action;
    }
}

/// A scenario of a system.
pub type ScenarioOf<S> = Scenario<<S as System>::Setup, <S as System>::Action, <S as System>::Wish>;

/// An operation of a system's history.
pub type DoneOf<S> = Done<<S as System>::Action, <S as System>::Answer>;

/// What a node is given.
#[derive_where(Clone, Debug)]
pub enum Input<S: System> {
    /// A node's message arrives.
    Message(u32, S::Message),
    /// A client asks; the ticket names its operation.
    Ask(u64, S::Ask),
    /// A timer fires.
    Timer(S::Timer),
    /// So many entries of its journal are durable.
    Durable(u64),
    /// An operator asks for a change.
    Change(S::Change),
}

/// What a node did, up to its next input.
#[derive_where(Clone, Debug, Default)]
pub struct Effects<S: System> {
    /// Entries for its journal.
    pub entries: Vec<S::Entry>,
    /// Timers that it armed, and after how many microseconds they fire.
    pub timers: Vec<(S::Timer, u64)>,
    /// Branches that it counted.
    pub notes: Vec<&'static str>,
    /// Messages that left it.
    pub messages: Vec<(u32, S::Message)>,
    /// Answers that left it, by the tickets of their operations.
    pub replies: Vec<(u64, S::Reply)>,
}

/// What a node's [`Io`] shares with its host: the step's clock readings, and its effects.
#[derive_where(Default)]
pub(crate) struct Shared<S: System> {
    pub(crate) now_us: u64,
    pub(crate) uptime_us: u64,
    pub(crate) journal: Journal<S::Entry>,
    /// But for the entries, which are in the journal.
    pub(crate) effects: Effects<S>,
}

/// A node's way to the world.
#[derive_where(Clone, Default)]
pub struct Io<S: System>(pub(crate) Rc<RefCell<Shared<S>>>);

impl<S: System> Io<S> {
    /// The wall clock, in microseconds since the Unix epoch. It does not move within a step.
    pub fn now_us(&self) -> u64 {
        self.0.borrow().now_us
    }

    /// The monotonic clock, in microseconds since the node started. It does not move within a step.
    pub fn uptime_us(&self) -> u64 {
        self.0.borrow().uptime_us
    }

    /// Arms a timer: it fires after so many microseconds, as an input. Each that is armed fires, though it be like
    /// another; a crash voids them all.
    pub fn set_timer(&self, timer: S::Timer, after_us: u64) {
        self.0.borrow_mut().effects.timers.push((timer, after_us));
    }

    /// Appends to the journal; says after how many entries this one is durable, those from before a restart
    /// included. That becomes known by [`Input::Durable`]: what rests on the entry must wait for it.
    pub fn append(&self, entry: S::Entry) -> u64 {
        self.0.borrow_mut().journal.append(entry)
    }

    /// How many entries of the journal are durable.
    pub fn durable(&self) -> u64 {
        self.0.borrow().journal.durable()
    }

    /// Counts a branch that is seldom taken.
    pub fn note(&self, name: &'static str) {
        self.0.borrow_mut().effects.notes.push(name);
    }

    /// Sends a message. One to the node itself travels the network like any other.
    pub fn send(&self, to: u32, message: S::Message) {
        self.0.borrow_mut().effects.messages.push((to, message));
    }

    /// Answers a client.
    pub fn answer(&self, ticket: u64, reply: S::Reply) {
        self.0.borrow_mut().effects.replies.push((ticket, reply));
    }
}
