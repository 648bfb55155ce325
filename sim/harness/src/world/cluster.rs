//! The simulated cluster: unchanged nodes, plugged into a world that one queue of events moves on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use strum::VariantArray as _;

use crate::{
    log::{Event, Log},
    panics::panic_text,
    random::Random,
    scenario::{
        Setup as _,
        script::{ScriptStep, Unfit},
    },
    system::{Effects, Input, ScenarioOf, System},
    tally::{Sometimes, Tally, Topic},
    trace::{Given, RecordedStep},
    violation::Violation,
    watch::{Scene, Watch as _, Watched},
    world::{
        clock::NodeClock,
        host::{Host, Hosts},
        network::{Counted, Fate, SimNetwork},
        own::{DiskFaults, Ending},
        queue::{Due, Queue, Wake},
        waiting::Waiting,
    },
};

/// The property that a panic violates.
pub const INVARIANT: &str = "invariant";

/// What a turn of the handle shows to the run.
pub enum Turn {
    /// A node moved. It may have answered clients.
    Moved,
    /// The time has come for something.
    Wake(Wake),
}

/// Is shown each message as it leaves its node, and when.
pub type Meter<S> = Box<dyn FnMut(u64, &<S as System>::Message)>;

/// The simulated cluster.
pub struct World<S: Watched> {
    pub(super) at: u64,
    pub(super) queue: Queue<S>,
    /// The nodes and their journals.
    pub hosts: Hosts<S>,
    pub(super) setup: S::Setup,
    /// The network between nodes.
    pub(crate) network: SimNetwork,
    disks: Random,
    /// Of the disks on which nodes keep journals of their own.
    pub(super) disk_faults: Option<DiskFaults>,
    /// Processes that ended by themselves: they are to be stopped, and others start later.
    pub(crate) ended: Vec<(u32, Ending)>,
    /// Nodes that found that their journals are damaged, and what can be read.
    pub(crate) damaged: Vec<(u32, Vec<S::Entry>)>,
    /// The event log.
    pub log: Log<S>,
    /// What was counted.
    pub tally: Tally,
    counted: [u64; Counted::VARIANTS.len()],
    sent: u64,
    /// Answers to clients, to be taken after each turn.
    pub(crate) answers: Vec<(u64, S::Reply)>,
    /// What looks at each step.
    pub watch: S::Watch,
    /// The first property that was violated within a step.
    pub(crate) violated: Option<Violation>,
    /// A node that is kept behind.
    pub(crate) behind: Option<u32>,
    /// While a script decides: what waits for it.
    pub(super) waiting: Option<Waiting<S>>,
    /// What each node was given and did, if it is recorded.
    pub(crate) trace: Option<Vec<RecordedStep<S>>>,
    /// Is shown each message, if anything is.
    pub(crate) meter: Option<Meter<S>>,
}

impl<S: Watched> World<S> {
    /// The nodes of a scenario, not started yet.
    pub(crate) fn new(scenario: &ScenarioOf<S>, birth: &S::Birth, log: Log<S>) -> Self {
        let setup = &scenario.cluster;
        let host = |number: u32| {
            let mut host = Host::new(NodeClock::new(setup.clock(number)), setup.disks());
            host.birth = Some(birth.clone());
            host
        };
        let (watch, violated) = S::Watch::new(setup, birth);
        Self {
            at: 0,
            queue: Queue::default(),
            hosts: Hosts((1..=setup.nodes()).map(host).collect()),
            setup: setup.clone(),
            network: SimNetwork::new(&scenario.network, Random::new(scenario.seed, "network")),
            disks: Random::new(scenario.seed, "disks"),
            disk_faults: setup.disks().map(|disks| DiskFaults::new(scenario.seed, disks)),
            ended: Vec::new(),
            damaged: Vec::new(),
            log,
            tally: Tally::default(),
            counted: [0; Counted::VARIANTS.len()],
            sent: 0,
            answers: Vec::new(),
            watch,
            violated,
            behind: None,
            waiting: None,
            trace: None,
            meter: None,
        }
    }

    /// Microseconds since the run began.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The nodes' settings.
    pub fn setup(&self) -> &S::Setup {
        &self.setup
    }

    /// When the next thing happens.
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.queue.next_at()
    }

    /// Lets the next thing happen.
    pub(crate) fn turn(&mut self) -> Option<Turn> {
        let (at, due) = self.queue.pop()?;
        self.at = at;
        Some(match due {
            Due::Wake(wake) => Turn::Wake(wake),
            due => {
                self.act(due);
                Turn::Moved
            }
        })
    }

    /// Nothing goes wrong any more with the network and the disks.
    pub(crate) fn heal(&mut self) {
        self.network.heal();
        self.behind = None;
        self.disk_faults.iter_mut().for_each(DiskFaults::heal);
    }

    /// Wakes the run later.
    pub(crate) fn wake(&mut self, at: u64, wake: Wake) {
        self.queue.push(at, Due::Wake(wake));
    }

    /// Lets the operators look again at a time.
    pub fn wake_operator(&mut self, at: u64) {
        self.wake(at, Wake::Operator);
    }

    /// Somebody asks a node for a change. In vain, if it does not run.
    pub fn change(&mut self, node: u32, change: S::Change) {
        self.later(Due::Change { node, change });
    }

    /// Lets something happen at once, but not now.
    fn later(&mut self, due: Due<S>) {
        self.queue.push(self.at + 1, due);
    }

    /// A client asks a node that runs.
    pub(crate) fn ask(&mut self, to: u32, ticket: u64, ask: S::Ask) {
        if self.hosts.get(to).is_some_and(|host| host.paused > 0) {
            self.tally.sometimes(Sometimes::Stalled);
        }
        self.act(Due::Ask { to, ticket, ask });
    }

    pub(super) fn host(&mut self, node: u32) -> Option<&mut Host<S>> {
        self.hosts.get_mut(node)
    }

    pub(crate) fn record(&mut self, event: &Event<'_, S>) {
        self.log.record(self.at, event);
    }

    fn count(&mut self, what: Counted) {
        self.counted[what as usize] += 1;
    }

    /// Lets the watch look at something; the first violation is kept.
    pub fn look(
        &mut self,
        look: impl FnOnce(&mut S::Watch, &mut Scene<'_, S>) -> Result<(), Violation>,
    ) {
        let Self { at, setup, hosts, tally, log, .. } = self;
        let mut scene = Scene { at_us: *at, setup, hosts, tally, log };
        if let Err(violation) = look(&mut self.watch, &mut scene) {
            self.violated.get_or_insert(violation);
        }
    }

    /// Something happens to a node: now, or after its pause.
    pub(super) fn act(&mut self, due: Due<S>) {
        let node = match &due {
            Due::Arrive { to, .. } | Due::Ask { to, .. } => *to,
            Due::Timer { node, .. }
            | Due::Synced { node, .. }
            | Due::Rested { node, .. }
            | Due::Change { node, .. } => *node,
            Due::Wake(_) => unreachable!("taken by turn"),
        };
        let Some(host) = self.host(node) else {
            // A member whose process did not start yet.
            if let Due::Arrive { .. } = due {
                self.count(Counted::Nowhere);
            }
            return;
        };
        let (starts, runs) = (host.starts, host.node.is_some());
        if runs && host.paused > 0 {
            host.backlog.push(due);
            return;
        }
        match due {
            Due::Arrive { to, id, .. } if !runs => {
                self.count(Counted::Nowhere);
                self.record(&Event::ArrivedNowhere(id, to));
            }
            _ if !runs => {}
            Due::Arrive { to, from, id, message } => {
                self.count(Counted::Delivered);
                self.record(&Event::Arrived(id, to));
                self.step(to, Some(Input::Message(from, message)));
            }
            Due::Ask { to, ticket, ask } => self.step(to, Some(Input::Ask(ticket, ask))),
            Due::Timer { node, starts: of, timer } if of == starts => {
                self.record(&Event::Fired(node, &timer));
                self.step(node, Some(Input::Timer(timer)));
            }
            Due::Synced { node, starts: of } if of == starts => self.synced(node),
            Due::Rested { node, starts: of, entries } if of == starts => self.rested(node, entries),
            Due::Change { node, change } => {
                self.record(&Event::Changed(node, &change));
                self.step(node, Some(Input::Change(change)));
            }
            // Of an earlier start.
            Due::Timer { .. } | Due::Synced { .. } | Due::Rested { .. } | Due::Wake(_) => {}
        }
    }

    fn synced(&mut self, node: u32) {
        if !self.sync_own(node) {
            return;
        }
        let Some(host) = self.host(node) else { return };
        let (before, durable) = {
            let mut shared = host.io.0.borrow_mut();
            let before = shared.journal.durable();
            shared.journal.end_sync();
            (before, shared.journal.durable())
        };
        let place = |n: u64| usize::try_from(n).expect("fits");
        self.look(|watch, scene| watch.synced(scene, node, place(before), place(durable)));
        self.record(&Event::Synced(node, durable));
        self.step(node, Some(Input::Durable(durable)));
        self.may_rest(node);
    }

    /// Lets a node take a step, and takes its effects. Without an input, it looks at its clocks.
    pub(super) fn step(&mut self, id: u32, input: Option<Input<S>>) {
        let at = self.at;
        let looks = self.looks(id);
        let given = self.trace.is_some().then(|| input.clone()).flatten();
        let Some(host) = self.host(id) else { return };
        let Some(node) = &mut host.node else { return };
        let entries_before = host.io.0.borrow().journal.len();
        let (clock, io) = (host.clock, &host.io);
        let is_at = |at: u64| {
            let mut shared = io.0.borrow_mut();
            (shared.now_us, shared.uptime_us) = (clock.wall_us(at), clock.uptime_us(at));
        };
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            for look in looks {
                is_at(look);
                S::look(node);
            }
            is_at(at);
            if let Some(input) = input {
                S::step(node, input, io);
            }
        }));
        if let Err(panic) = stepped {
            let what = format!("n{id} panicked: {}", panic_text(&*panic));
            self.violated.get_or_insert(Violation::new(INVARIANT, what));
            return;
        }
        self.look(|watch, scene| watch.stepped(scene, id, entries_before));
        self.take_effects(id, entries_before, given.map(Given::Input));
    }

    /// When a node looked at its clocks since it did so last, as a process does also when nothing happens: made
    /// up for when something does.
    fn looks(&mut self, id: u32) -> Vec<u64> {
        let Some(every) = S::look_every_us(&self.setup) else { return Vec::new() };
        let at = self.at;
        let Some(host) = self.host(id) else { return Vec::new() };
        let first = host.looked.saturating_add(every.max(1));
        let looks: Vec<u64> =
            (first..=at).step_by(usize::try_from(every.max(1)).expect("short")).collect();
        host.looked = looks.last().copied().unwrap_or(host.looked);
        looks
    }

    pub(super) fn take_effects(&mut self, id: u32, entries_before: usize, given: Option<Given<S>>) {
        let Some(host) = self.host(id) else { return };
        let starts = host.starts;
        let effects = std::mem::take(&mut host.io.0.borrow_mut().effects);
        if let Some(given) = given {
            self.trace_step(id, given, &effects, entries_before);
        }
        let begins_sync = self.begins_sync(id);
        for note in effects.notes {
            self.tally.add(Topic::Note, note);
            self.record(&Event::Noted(id, note));
        }
        for (timer, after_us) in effects.timers {
            if let Some(waiting) = &mut self.waiting {
                waiting.timer(id, timer);
                continue;
            }
            self.queue.push(self.at + after_us, Due::Timer { node: id, starts, timer });
        }
        if begins_sync {
            if effects.messages.is_empty() && effects.replies.is_empty() {
                self.tally.sometimes(Sometimes::Waited);
            }
            let (least, most) = self.setup.sync_us();
            let takes = self.disks.random_range(least..=most);
            if self.waiting.is_none() {
                self.queue.push(self.at + takes, Due::Synced { node: id, starts });
            }
        }
        for (to, message) in effects.messages {
            self.send(id, to, message);
        }
        self.answers.extend(effects.replies);
        if begins_sync && self.waiting.is_some() {
            self.act(Due::Synced { node: id, starts });
        }
    }

    /// Begins a sync of a node's journal, if it is time for one.
    fn begins_sync(&mut self, id: u32) -> bool {
        let Some(host) = self.host(id) else { return false };
        match host.own.is_some() {
            true => self.write_own(id),
            false => host.io.0.borrow_mut().journal.begin_sync(),
        }
    }

    pub(super) fn trace_step(
        &mut self,
        node: u32,
        given: Given<S>,
        effects: &Effects<S>,
        entries_before: usize,
    ) {
        // What operators ask is followed by no other engine.
        let (Some(trace), false) =
            (&mut self.trace, matches!(given, Given::Input(Input::Change(_))))
        else {
            return;
        };
        let Some(host) = self.hosts.get(node) else { return };
        let shared = host.io.0.borrow();
        let entries = shared.journal.since(entries_before).to_vec();
        let effects = Effects { entries, ..effects.clone() };
        let (now_us, uptime_us) = (shared.now_us, shared.uptime_us);
        trace.push(RecordedStep { node, now_us, uptime_us, given, effects });
    }

    fn send(&mut self, from: u32, to: u32, message: S::Message) {
        self.sent += 1;
        if let Some(meter) = &mut self.meter {
            meter(self.at, &message);
        }
        let id = self.sent;
        if let Some(waiting) = &mut self.waiting {
            waiting.message(id, from, to, message.clone());
            self.record(&Event::Sent(id, from, to, &message, Fate::Waits));
            return;
        }
        let withheld = self.behind == Some(to) && S::is_news(&message);
        let fate = if withheld { Fate::Cut } else { self.network.fate(from, to) };
        self.record(&Event::Sent(id, from, to, &message, fate));
        let at = self.at;
        let arrive = |message| Due::Arrive { to, from, id, message };
        match fate {
            Fate::Arrives(after) => self.queue.push(at + after, arrive(message)),
            Fate::HeldBack(after) => {
                self.count(Counted::HeldBack);
                self.queue.push(at + after, arrive(message));
            }
            Fate::Twice(first, second) => {
                self.count(Counted::Doubled);
                self.queue.push(at + first, arrive(message.clone()));
                self.queue.push(at + second, arrive(message));
            }
            Fate::Lost => self.count(Counted::Lost),
            Fate::Cut if withheld => self.count(Counted::Withheld),
            Fate::Cut => self.count(Counted::Cut),
            Fate::Waits => unreachable!("the network decides, not the script"),
        }
    }

    /// Checks all invariants of all nodes that run.
    pub(crate) fn check_everything(&mut self) {
        for id in self.hosts.nodes() {
            let Some(node) = self.hosts.node(id) else { continue };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| S::check(node))) {
                let what = format!("n{id}: {}", panic_text(&*panic));
                self.violated.get_or_insert(Violation::new(INVARIANT, what));
            }
        }
    }

    /// Puts the frequent counts into the tally.
    pub(crate) fn close(&mut self) {
        for what in Counted::VARIANTS {
            self.tally.add_many(Topic::Message, what.name(), self.counted[*what as usize]);
        }
    }

    /// From now on messages and timers wait for the script.
    pub(crate) fn begin_script(&mut self) {
        self.waiting = Some(Waiting::default());
    }

    /// Takes a step of the script that is about messages or timers. Fails when it does not fit.
    pub(crate) fn script_step(&mut self, step: &ScriptStep) -> Result<(), Unfit> {
        let waiting = self.waiting.as_mut().ok_or(Unfit::Over)?;
        match step {
            ScriptStep::Ask(_) | ScriptStep::Crash(_) => {}
            ScriptStep::Deliver(wire) => {
                let (id, from, to, message) = waiting.take(wire)?;
                self.act(Due::Arrive { to, from, id, message });
            }
            ScriptStep::Double(wire) => {
                let (id, from, to, message) = waiting.take(wire)?;
                waiting.message(id, from, to, message.clone());
                self.act(Due::Arrive { to, from, id, message });
            }
            ScriptStep::Lose(wire) => {
                let (id, _, to, _) = waiting.take(wire)?;
                self.record(&Event::LostByScript(id, to));
            }
            ScriptStep::Fire(node, timer) => {
                let (node, timer) = (*node, waiting.take_timer(*node, timer)?);
                let starts = self.hosts.get(node).map_or(0, |host| host.starts);
                self.act(Due::Timer { node, starts, timer });
            }
        }
        Ok(())
    }

    /// What still waits goes its usual way from now on.
    pub(crate) fn end_script(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        let (messages, timers) = waiting.into_all();
        for (_, from, to, message) in messages {
            self.send(from, to, message);
        }
        for (node, timer) in timers {
            let starts = self.hosts.get(node).map_or(0, |host| host.starts);
            self.later(Due::Timer { node, starts, timer });
        }
    }
}
