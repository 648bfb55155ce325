//! One run: load under faults, then healing, then convergence, then service; and the verdict.

mod after;
mod faults;
mod script;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use kv::core::{
    env::{Failure, Reply, Request},
    quorum::Level,
    record::{Record, Version},
    seen::Seen,
    types::{Key, NodeId, RequestId, Value},
};
use madsim::runtime::Runtime;

use crate::{
    check::{self, Evidence, Violation},
    cluster::{Cluster, Turn},
    cost::Meter,
    history::{Done, Outcome},
    log::{Event, Happened, Log, Told},
    queue::Wake,
    rings::Operator,
    scenario::{Action, FaultKind, Scenario},
    tally::{Tally, Topic},
    trace::{Moved, Recorder},
};

/// How often the cluster is looked at while it converges, in microseconds.
const LOOK_EVERY_US: u64 = 250_000;
/// A client that hears nothing for this many request timeouts stops waiting.
const PATIENCE: u64 = 3;
/// Keys that a client remembers; few, so that some have more.
const SESSION_KEYS: usize = 3;
/// The client that checks the service at the end.
const AUDITOR: u32 = u32::MAX;

/// What a run showed.
pub struct Verdict {
    /// The first property that was violated, if any.
    pub violation: Option<Violation>,
    /// The log's hash.
    pub hash: u64,
    /// The log's text, if it was asked for.
    pub text: Option<String>,
    /// What a story tells, if the text was asked for.
    pub told: Told,
    /// Events in the log.
    pub events: u64,
    /// What was counted.
    pub tally: Tally,
    /// What clients did.
    pub history: Vec<Done>,
    /// What each node held of the violation's key in the end: owners are marked.
    pub held: Vec<(NodeId, bool, Option<Record>)>,
    /// How long the run was, in microseconds of simulated time.
    pub simulated_us: u64,
    /// How long after healing all changes had ended and the owners agreed, if they did.
    pub converged_us: Option<u64>,
    /// What each node was given and did, if it was recorded.
    pub trace: Vec<Moved>,
    /// What was sent, if it was counted.
    pub meter: Option<Meter>,
}

/// Runs a scenario. `keep_text`: keep the log's text.
pub fn run(scenario: &Scenario, keep_text: bool) -> Verdict {
    drive(scenario, Run::new(scenario, keep_text))
}

/// Runs a scenario, and records what each node was given and did.
pub fn run_recorded(scenario: &Scenario) -> Verdict {
    let mut run = Run::new(scenario, false);
    run.cluster.recorder = Some(Recorder::default());
    drive(scenario, run)
}

/// Runs a scenario, and counts its messages.
pub fn run_metered(scenario: &Scenario, meter: Meter) -> (Verdict, Meter) {
    let mut run = Run::new(scenario, false);
    run.cluster.meter = Some(meter);
    let mut verdict = drive(scenario, run);
    let meter = verdict.meter.take().unwrap_or_default();
    (verdict, meter)
}

fn drive(scenario: &Scenario, run: Run<'_>) -> Verdict {
    let runtime = Runtime::with_seed_and_config(scenario.seed, madsim::Config::default());
    runtime.block_on(run.drive())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Load,
    Converge,
    Serve,
    Settle,
    Over,
}

struct Run<'a> {
    scenario: &'a Scenario,
    cluster: Cluster,
    operator: Operator,
    /// What each client has still to do, as places in the scenario's list.
    clients: Vec<VecDeque<usize>>,
    /// What each client has seen.
    seen: Vec<Seen>,
    /// What the auditor has still to do, and when it began with the first of it.
    audit: VecDeque<(NodeId, Action)>,
    audit_since: u64,
    history: Vec<Done>,
    /// Operations that wait for an answer, as places in the history.
    waiting: Vec<usize>,
    active_faults: Vec<bool>,
    /// Whom each client asks next, whatever the scenario says: a node that stands still.
    diverted: Vec<Option<NodeId>>,
    /// Flapping partitions that are off at the moment.
    flapped_off: Vec<bool>,
    /// Those that were off at any time.
    flapped: Vec<bool>,
    moment: u64,
    phase: Phase,
    /// What was on each disk that was lost.
    disks_lost: Vec<BTreeMap<Key, Version>>,
    /// Who took whom for alive since the phase began.
    seen_alive: BTreeSet<(NodeId, NodeId)>,
    converged_us: Option<u64>,
    violation: Option<Violation>,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, keep_text: bool) -> Self {
        let operator = Operator::new(scenario);
        let cluster = Cluster::new(scenario, operator.first().clone(), Log::new(keep_text));
        let count = scenario.operations.iter().map(|op| op.client as usize + 1).max().unwrap_or(0);
        let mut clients = vec![VecDeque::new(); count];
        for (place, operation) in scenario.operations.iter().enumerate() {
            clients[operation.client as usize].push_back(place);
        }
        Self {
            scenario,
            cluster,
            operator,
            seen: vec![Seen::new(SESSION_KEYS); count],
            clients,
            audit: VecDeque::new(),
            audit_since: 0,
            history: Vec::new(),
            waiting: Vec::new(),
            active_faults: vec![false; scenario.faults.len()],
            diverted: vec![None; count],
            flapped_off: vec![false; scenario.faults.len()],
            flapped: vec![false; scenario.faults.len()],
            moment: 0,
            phase: Phase::Load,
            disks_lost: Vec::new(),
            seen_alive: BTreeSet::new(),
            converged_us: None,
            violation: None,
        }
    }

    async fn drive(mut self) -> Verdict {
        let start = madsim::time::Instant::now();
        self.begin();
        while self.phase != Phase::Over
            && let Some(at) = self.cluster.next_at()
        {
            // The queue says what time it is, and each node has clocks of its own (world/clock.rs): nobody
            // looks at the runtime's, which only goes along.
            madsim::time::sleep_until(start + Duration::from_micros(at)).await;
            while self.phase != Phase::Over && self.cluster.next_at() == Some(at) {
                match self.cluster.turn() {
                    Some(Turn::Wake(wake)) => self.woken(wake),
                    Some(Turn::Moved) | None => {}
                }
                self.take_answers();
                if let Some(violation) = self.cluster.broken.take() {
                    self.fail(violation);
                }
            }
        }
        self.close()
    }

    fn begin(&mut self) {
        self.enter(Phase::Load, "load");
        if !self.scenario.script.is_empty() {
            self.cluster.begin_script();
            self.clients.clear();
            self.cluster.wake(1, Wake::Script(0));
        }
        for node in self.cluster.nodes() {
            self.cluster.start(node);
        }
        self.cluster.withheld = self.scenario.stale.map(NodeId);
        for client in 0..self.clients.len() {
            self.schedule(client);
        }
        for (place, fault) in self.scenario.faults.iter().enumerate() {
            self.cluster.wake(fault.at_ms * 1_000, Wake::FaultBegins(place));
        }
        if let Some(at) = self.operator.first_look() {
            self.cluster.wake(at, Wake::Operator);
        }
        self.cluster.wake(self.scenario.load().0, Wake::Phase);
    }

    fn woken(&mut self, wake: Wake) {
        match wake {
            Wake::Client(client) => self.go_on(client),
            Wake::GiveUp(place) => self.give_up(place),
            Wake::FaultBegins(place) => self.fault_begins(place),
            Wake::FaultEnds(place) => self.fault_ends(place),
            Wake::Flap(place, on) => self.flap(place, on),
            Wake::Script(at) => self.script(at),
            Wake::Operator => {
                let before = self.operator.current().epoch();
                for node in self.operator.look(&mut self.cluster) {
                    self.die(node);
                }
                if self.operator.current().epoch() > before && self.is_parted() {
                    self.cluster.tally.add(Topic::Event, "the ring changed across a partition");
                }
            }
            Wake::Phase => match self.phase {
                Phase::Load => self.heal(),
                Phase::Converge | Phase::Settle => self.look_for_convergence(),
                Phase::Serve => self.go_on_serving(),
                Phase::Over => {}
            },
        }
    }

    /// Whether a partition is on.
    fn is_parted(&self) -> bool {
        let active = self.scenario.faults.iter().zip(&self.active_faults);
        active.filter(|(_, active)| **active).any(|(fault, _)| match fault.kind {
            FaultKind::Partition(_) | FaultKind::OneWay(..) | FaultKind::Flapping(..) => true,
            FaultKind::Crash(_)
            | FaultKind::Pause(_)
            | FaultKind::Stall(_)
            | FaultKind::Slow(..)
            | FaultKind::Storm { .. }
            | FaultKind::ClockJump(..) => false,
        })
    }

    fn enter(&mut self, phase: Phase, name: &'static str) {
        self.phase = phase;
        self.seen_alive.clear();
        self.cluster.log.record(self.cluster.at(), &Event::Phase(name));
    }

    fn fail(&mut self, violation: Violation) {
        if self.violation.is_none() {
            self.violation = Some(violation);
        }
        self.phase = Phase::Over;
    }

    // Clients.

    fn schedule(&mut self, client: usize) {
        let next = self.clients.get(client).and_then(VecDeque::front);
        if let Some(operation) = next.map(|place| &self.scenario.operations[*place]) {
            self.cluster.wake(self.cluster.at() + operation.after_us, Wake::Client(client));
        }
    }

    fn go_on(&mut self, client: usize) {
        if self.phase != Phase::Load {
            return;
        }
        if let Some(place) = self.clients[client].pop_front() {
            let operation = &self.scenario.operations[place];
            let node = self.diverted[client].take().unwrap_or(NodeId(operation.node));
            self.invoke(operation.client, node, operation.action.clone(), place);
        }
    }

    fn invoke(&mut self, client: u32, node: NodeId, action: Action, number: usize) {
        let place = self.history.len();
        let at = self.cluster.at();
        self.cluster.log.record(at, &Event::Invoked(place, client, node, &action));
        self.moment += 1;
        let request = match (&action, self.seen.get(client as usize)) {
            // As a connection of the server does.
            (Action::Get(key, Level::Session), Some(seen)) => {
                let request = seen.read(Key::trusted(key));
                if request.level() != Level::Session {
                    self.cluster.tally.add(Topic::Event, "session overflowed");
                }
                request
            }
            _ => request(&action),
        };
        let key = Key::trusted(action.key());
        let epoch = self.cluster.inspect(node, |n| n.inspect_key(&key, |shard| shard.epoch()));
        let newest = self.operator.current().epoch().0;
        match epoch.map_or(0, |epoch| newest.saturating_sub(epoch.0)) {
            0 => {}
            1 => self.cluster.tally.add(Topic::Event, "asked a coordinator that is a ring behind"),
            _ => self.cluster.tally.add(Topic::Event, "asked a coordinator that is rings behind"),
        }
        self.history.push(Done {
            epoch: epoch.unwrap_or_default(),
            number,
            client,
            node,
            action,
            invoked: self.moment,
            invoked_us: at,
            returned: None,
            returned_us: None,
            outcome: Outcome::Unknown("not answered yet"),
        });
        self.waiting.push(place);
        let patience = PATIENCE * self.scenario.cluster.config.request_timeout.0;
        if self.cluster.ask(node, RequestId(place as u64), request) {
            self.cluster.wake(at + patience, Wake::GiveUp(place));
        } else {
            self.end(place, Outcome::Failed("node down"));
        }
    }

    fn take_answers(&mut self) {
        for (request, reply) in std::mem::take(&mut self.cluster.answers) {
            let place = usize::try_from(request.0).expect("a place in the history");
            if !self.waiting.contains(&place) {
                if reply == Reply::Failed(Failure::Paused) {
                    let name = "a request that its client had given up was refused after a pause";
                    self.cluster.tally.add(Topic::Event, name);
                }
                continue;
            }
            self.cluster.log.record(self.cluster.at(), &Event::Answered(place, &reply));
            let outcome = match reply {
                Reply::Found(_) if !self.is_covered(place) => Outcome::of_failure(Failure::Stale),
                Reply::Written(version) => Outcome::Written(version),
                Reply::Found(record) => Outcome::Found(record),
                Reply::Failed(failure) => Outcome::of_failure(failure),
            };
            self.end(place, outcome);
        }
    }

    /// Whether a read at SESSION found what its client is sure not to be behind of, as a connection of the
    /// server looks at it.
    fn is_covered(&self, place: usize) -> bool {
        let done = &self.history[place];
        let Action::Get(key, Level::Session) = &done.action else { return true };
        let Some(seen) = self.seen.get(done.client as usize) else { return true };
        let ring = self.cluster.inspect(done.node, |node| node.ring().epoch());
        seen.covers(&Key::trusted(key), ring.unwrap_or_default())
    }

    fn give_up(&mut self, place: usize) {
        if self.waiting.contains(&place) {
            self.end(place, Outcome::Unknown("no answer"));
        }
    }

    /// An operation is over for its client.
    fn end(&mut self, place: usize, outcome: Outcome) {
        let at = self.cluster.at();
        if let Outcome::Failed(why) | Outcome::Unknown(why) = &outcome {
            self.cluster.log.record(at, &Event::Unanswered(place, why));
        }
        self.cluster.log.tell(at, Happened::Ended(place));
        self.waiting.retain(|waiting| *waiting != place);
        self.moment += 1;
        let done = &mut self.history[place];
        done.returned = Some(self.moment);
        done.returned_us = Some(at);
        done.outcome = outcome;
        count(&mut self.cluster.tally, done);
        let seen = self.seen.get_mut(done.client as usize);
        if let (Some(seen), Some(version)) = (seen, done.version()) {
            seen.saw(&Key::trusted(done.action.key()), version, done.epoch);
        }
        let client = done.client;
        if client == AUDITOR {
            self.audited(place);
        } else {
            self.schedule(client as usize);
        }
    }

    fn close(mut self) -> Verdict {
        self.cluster.close();
        self.look_at_flapping();
        if self.violation.is_none() {
            for node in self.stranded() {
                self.lose_disk(node);
            }
            let evidence = Evidence {
                history: &self.history,
                ring_changes: self.operator.current().epoch() > self.operator.first().epoch(),
                disks_lost: &self.disks_lost,
                cluster: &self.cluster,
                ring: self.operator.current(),
                config: &self.scenario.cluster.config,
            };
            let judged = check::judge(&evidence);
            self.cluster.tally.merge(&judged.tally);
            self.violation = judged.violation;
        }
        let simulated_us = self.cluster.at();
        let held = self.held();
        let Cluster { log, tally, recorder, meter, .. } = self.cluster;
        let (hash, events) = (log.hash(), log.events());
        let (text, told) = log.into_text();
        Verdict {
            meter,
            trace: recorder.map(Recorder::into_steps).unwrap_or_default(),
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
        }
    }

    /// A node that goes and comes is not to go for good.
    fn look_at_flapping(&mut self) {
        let ring = self.operator.current();
        let stays = |node: &u32| ring.members().contains_key(&NodeId(*node));
        let faults = self.scenario.faults.iter().zip(&self.flapped);
        let flapped = faults.filter(|(_, flapped)| **flapped).any(|(fault, _)| match &fault.kind {
            FaultKind::Flapping(nodes, _) => nodes.iter().all(stays),
            _ => false,
        });
        if flapped && self.scenario.cluster.config.evict_after.0 > 0 {
            self.cluster.tally.add(Topic::Event, "a flapping node stayed a member");
        }
    }

    /// What each node that runs holds of the key of the violation.
    fn held(&self) -> Vec<(NodeId, bool, Option<Record>)> {
        let Some(key) = self.violation.as_ref().and_then(|violation| violation.key.as_ref()) else {
            return Vec::new();
        };
        let ring = self.operator.current();
        let owners = ring.owners(ring.slot_of(key));
        let key = Key::trusted(key);
        let nodes = self.cluster.nodes().filter_map(|node| {
            let held =
                self.cluster.inspect(node, |n| n.inspect_key(&key, |s| s.record(key.as_str())));
            held.map(|held| (node, owners.position(node).is_some(), held))
        });
        nodes.collect()
    }
}

fn request(action: &Action) -> Request {
    let key = Key::trusted(action.key());
    let level = action.level();
    match action {
        Action::Put(_, value, _) => Request::Put { key, value: Some(Value::trusted(value)), level },
        Action::Delete(..) => Request::Put { key, value: None, level },
        Action::Get(..) => Request::Get { key, level, at_least: None },
    }
}

fn count(tally: &mut Tally, done: &Done) {
    let kind = match &done.action {
        Action::Put(..) => "put",
        Action::Delete(..) => "delete",
        Action::Get(..) => "get",
    };
    let level = done.action.level();
    match &done.outcome {
        Outcome::Written(_) | Outcome::Found(_) => {
            tally.add(Topic::Operation, &format!("{kind} {level} ok"));
        }
        Outcome::Unknown("timeout") => {
            tally.add(Topic::Operation, &format!("{kind} {level} timeout"));
        }
        Outcome::Failed(why) | Outcome::Unknown(why) => tally.add(Topic::Operation, why),
    }
}
