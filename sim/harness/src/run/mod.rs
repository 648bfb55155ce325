//! One run: load under faults, then healing, then convergence, then service; and the verdict.

mod after;
pub mod clients;
mod faults;
mod script;

use std::collections::VecDeque;

use derive_where::derive_where;

use crate::{
    log::{Event, Log, Told},
    operator::Operator as _,
    property::{self, Judged},
    system::{DoneOf, ScenarioOf},
    tally::Tally,
    trace::RecordedStep,
    violation::Violation,
    world::{Turn, Wake, World},
};

/// What a run showed.
#[derive_where(Default)]
pub struct Verdict<S: Judged> {
    /// The first property that was violated, if any.
    pub violation: Option<Violation>,
    /// The log's hash.
    pub hash: u64,
    /// The log's text, if it was asked for.
    pub text: Option<String>,
    /// What a story tells, if the text was asked for.
    pub told: Told<S>,
    /// Events in the log.
    pub events: u64,
    /// What was counted.
    pub tally: Tally,
    /// What clients did.
    pub history: Vec<DoneOf<S>>,
    /// What each node held of the violation's key in the end.
    pub held: Vec<(u32, S::Held)>,
    /// How long the run was, in microseconds of simulated time.
    pub simulated_us: u64,
    /// How long after healing the cluster had converged, if it had.
    pub converged_us: Option<u64>,
    /// What each node was given and did, if it was recorded.
    pub trace: Vec<RecordedStep<S>>,
}

/// Runs a scenario to its end. `keep_text`: keep the log's text, and what a story tells.
pub fn run<S: Judged>(scenario: &ScenarioOf<S>, keep_text: bool) -> Verdict<S> {
    let mut run = Run::new(scenario, keep_text);
    while let Some(at) = run.next_at() {
        run.advance(at);
    }
    run.close()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has begun.
    Ready,
    Load,
    Converge,
    Serve,
    Settle,
    Over,
}

/// A run, to be driven from one moment to the next: by [`run`], or by a runtime of its own.
pub struct Run<'a, S: Judged> {
    scenario: &'a ScenarioOf<S>,
    world: World<S>,
    operator: S::Operator,
    /// What each client has still to do, as places in the scenario's list.
    clients: Vec<VecDeque<usize>>,
    /// What each client remembers.
    memories: Vec<S::Client>,
    /// What the auditor has still to do, and when it began with the first of it.
    audit: VecDeque<(u32, S::Action)>,
    audit_since: u64,
    history: Vec<DoneOf<S>>,
    /// Operations that wait for an answer, as places in the history.
    waiting: Vec<usize>,
    active_faults: Vec<bool>,
    /// Whom each crash of all stopped.
    all_crashed: Vec<(usize, Vec<u32>)>,
    /// Whom each client asks next, whatever the scenario says: a node that stands still.
    diverted: Vec<Option<u32>>,
    /// Flapping partitions that are off at the moment.
    flapped_off: Vec<bool>,
    /// Those that were off at any time.
    flapped: Vec<bool>,
    moment: u64,
    phase: Phase,
    converged_us: Option<u64>,
    violation: Option<Violation>,
}

impl<'a, S: Judged> Run<'a, S> {
    /// A run of a scenario, which begins when it is first asked what happens next.
    pub fn new(scenario: &'a ScenarioOf<S>, keep_text: bool) -> Self {
        let operator = S::Operator::new(scenario);
        let world = World::new(scenario, &operator.birth(), Log::new(keep_text));
        let count = scenario.operations.iter().map(|op| op.client as usize + 1).max().unwrap_or(0);
        let mut clients = vec![VecDeque::new(); count];
        for (place, operation) in scenario.operations.iter().enumerate() {
            clients[operation.client as usize].push_back(place);
        }
        Self {
            scenario,
            world,
            operator,
            memories: (0..count).map(|_| S::client(&scenario.cluster)).collect(),
            clients,
            audit: VecDeque::new(),
            audit_since: 0,
            history: Vec::new(),
            waiting: Vec::new(),
            active_faults: vec![false; scenario.faults.len()],
            all_crashed: Vec::new(),
            diverted: vec![None; count],
            flapped_off: vec![false; scenario.faults.len()],
            flapped: vec![false; scenario.faults.len()],
            moment: 0,
            phase: Phase::Ready,
            converged_us: None,
            violation: None,
        }
    }

    /// Records what each node is given and does.
    pub fn record_steps(&mut self) {
        self.world.trace = Some(Vec::new());
    }

    /// Shows each message that leaves a node, and when it does.
    pub fn meter(&mut self, meter: impl FnMut(u64, &S::Message) + 'static) {
        self.world.meter = Some(Box::new(meter));
    }

    /// The moment of what happens next, in microseconds of the run. None: the run is over.
    pub fn next_at(&mut self) -> Option<u64> {
        if self.phase == Phase::Ready {
            self.begin();
        }
        self.world.next_at().filter(|_| self.phase != Phase::Over)
    }

    /// Lets all happen that happens at that moment.
    pub fn advance(&mut self, at: u64) {
        while self.phase != Phase::Over && self.world.next_at() == Some(at) {
            match self.world.turn() {
                Some(Turn::Wake(wake)) => self.woken(wake),
                Some(Turn::Moved) | None => {}
            }
            self.take_answers();
            for (node, ending) in std::mem::take(&mut self.world.ended) {
                self.ended(node, ending);
            }
            for (node, readable) in std::mem::take(&mut self.world.damaged) {
                self.damaged(node, readable);
            }
            if let Some(violation) = self.world.violated.take() {
                self.fail(violation);
            }
        }
    }

    fn begin(&mut self) {
        self.enter(Phase::Load, "load");
        if !self.scenario.script.is_empty() {
            self.world.begin_script();
            self.clients.clear();
            self.world.wake(1, Wake::Script(0));
        }
        for node in self.world.hosts.nodes() {
            self.world.start(node);
        }
        self.world.behind = self.scenario.stale;
        for client in 0..self.clients.len() {
            self.schedule(client);
        }
        for (place, fault) in self.scenario.faults.iter().enumerate() {
            self.world.wake(fault.at_ms * 1_000, Wake::FaultBegins(place));
        }
        if let Some(at) = self.operator.first_look() {
            self.world.wake(at, Wake::Operator);
        }
        self.world.wake(self.scenario.heal_at_ms * 1_000, Wake::Phase);
    }

    fn woken(&mut self, wake: Wake) {
        match wake {
            Wake::Client(client) => self.go_on(client),
            Wake::GiveUp(place) => self.give_up(place),
            Wake::FaultBegins(place) => self.fault_begins(place),
            Wake::FaultEnds(place) => self.fault_ends(place),
            Wake::Flap(place, on) => self.flap(place, on),
            Wake::Script(at) => self.script(at),
            Wake::Restart(node) => self.world.restart(node),
            Wake::Operator => {
                let is_parted = self.is_parted();
                for node in self.operator.look(&mut self.world, is_parted) {
                    self.die(node);
                }
            }
            Wake::Phase => match self.phase {
                Phase::Load => self.heal(),
                Phase::Converge | Phase::Settle => self.look_for_convergence(),
                Phase::Serve => self.go_on_serving(),
                Phase::Ready | Phase::Over => {}
            },
        }
    }

    fn enter(&mut self, phase: Phase, name: &'static str) {
        self.phase = phase;
        self.operator.phase_began();
        self.world.record(&Event::Phase(name));
    }

    fn fail(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
        self.phase = Phase::Over;
    }

    /// Judges a run that is over.
    pub fn close(mut self) -> Verdict<S> {
        self.world.close();
        let faults = self.scenario.faults.iter().zip(&self.flapped);
        let flapped: Vec<_> =
            faults.filter(|(_, flapped)| **flapped).map(|(fault, _)| &fault.kind).collect();
        self.operator.over(&mut self.world, &flapped);
        if self.violation.is_none() {
            let evidence = S::evidence(self.scenario, &self.world, &self.operator, &self.history);
            self.violation =
                property::judge::<S::Evidence, S::Property>(&evidence, &mut self.world.tally);
        }
        let key = self.violation.as_ref().and_then(|violation| violation.key.as_deref());
        let held = key.map(|key| S::held(&self.world, &self.operator, key)).unwrap_or_default();
        let simulated_us = self.world.at();
        let World { log, tally, trace, .. } = self.world;
        let (hash, events) = (log.hash(), log.events());
        let (text, told) = log.into_text();
        Verdict {
            violation: self.violation,
            hash,
            events,
            text,
            told,
            tally,
            history: self.history,
            held,
            simulated_us,
            converged_us: self.converged_us,
            trace: trace.unwrap_or_default(),
        }
    }
}
