//! From a path through a model to a scenario: the simulation delivers in exactly that order.

use harness::{
    scenario::script::{ScriptStep, Wire},
    system::System as _,
    world::{
        clock::ClockSpec,
        network::{Link, Network},
    },
};
use kv::{
    core::{env::Request, ring::RING_SIZE, time::Micros, types::Key},
    node::config::NodeConfig,
};
use sim::{
    scenario::{self, Operation, Scenario},
    store::Store,
};
use stateright::Model as _;

use crate::world::{Action, ClusterModel, Envelope, Hashed, ModelState, Setup};

/// How coarse the simulated clocks are: they stand still while the script runs, as those of models do.
const TICK_US: u64 = 1_000_000;

/// Why there is no scenario for a path of a model whose rings change.
pub const NO_RINGS: &str = "a script has no steps that decide rings and let nodes learn of them";

/// The scenario that takes the same path. None where the model has rings of its own: see [`NO_RINGS`].
pub fn scenario<'a>(setup: &Setup, path: impl IntoIterator<Item = &'a Action>) -> Option<Scenario> {
    if !setup.rings.is_empty() {
        return None;
    }
    let mut places = Vec::new();
    let mut operations = Vec::new();
    for (client, plan) in (0..).zip(&setup.plans) {
        places.push(operations.len()..operations.len() + plan.len());
        operations.extend(plan.iter().map(|ask| Operation {
            client,
            after_us: 0,
            node: ask.node.0,
            action: action(&ask.request),
        }));
    }
    let mut waiting = Waiting::of(setup);
    let script = path.into_iter().map(|action| {
        let step = match action {
            Action::Ask(client) => {
                ScriptStep::Ask(places[*client].next().expect("a client has a plan"))
            }
            Action::Deliver(envelope) => ScriptStep::Deliver(waiting.take(envelope)),
            Action::Lose(envelope) => ScriptStep::Lose(waiting.take(envelope)),
            Action::Double(envelope) => {
                let wire = waiting.take(envelope);
                waiting.sent.push(envelope.clone());
                ScriptStep::Double(wire)
            }
            Action::Fire(node, timer) => ScriptStep::Fire(node.0, timer.name()),
            Action::Crash(node) => ScriptStep::Crash(node.0),
            Action::Decide | Action::Learn(..) | Action::Change(_) => {
                unreachable!("there is one ring for ever")
            }
        };
        waiting.follow(action);
        step
    });
    let script = script.collect();
    Some(Scenario {
        seed: 0,
        cluster: nodes(setup),
        network: Network {
            usual: Link { latency_us: (500, 500), loss: 0, duplicate: 0, reorder: 0 },
            links: Vec::new(),
        },
        changes: Vec::new(),
        stale: None,
        operations,
        faults: Vec::new(),
        script,
        heal_at_ms: 1_000,
        converge_within_ms: 10_000,
    })
}

fn nodes(setup: &Setup) -> scenario::Cluster {
    let clocks = &setup.clocks;
    let offset = |clock: &u64| i64::try_from(clock * TICK_US).expect("models have small clocks");
    scenario::Cluster {
        nodes: u32::try_from(clocks.len()).expect("models have few nodes"),
        replication: setup.replication(),
        slots: RING_SIZE,
        config: NodeConfig {
            shards: 1,
            sync_every: Micros::from_millis(200),
            // The models' clocks are not judged.
            max_clock_drift: Micros(0),
            ..NodeConfig::default()
        },
        sync_us: (0, 0),
        clocks: clocks
            .iter()
            .map(|clock| ClockSpec { offset_us: offset(clock), drift_ppm: 0, tick_us: TICK_US })
            .collect(),
        journal: None,
    }
}

/// The messages on their way, in the order in which they were sent. A state has them in the order of their
/// hashes; but two answers to one question have the same name, and the simulation tells them apart by their
/// age.
struct Waiting {
    model: ClusterModel,
    world: ModelState,
    sent: Vec<Hashed<Envelope>>,
}

impl Waiting {
    fn of(setup: &Setup) -> Self {
        let model = ClusterModel::new(setup.clone()).without_forgetting();
        let world = model.init_states().swap_remove(0);
        let sent = world.network.clone();
        Self { model, world, sent }
    }

    /// The message leaves: this is how a script names it.
    fn take(&mut self, envelope: &Hashed<Envelope>) -> Wire {
        let named = |envelope: &Envelope| Wire {
            from: envelope.from.0,
            to: envelope.to.0,
            says: Store::message_name(&envelope.message),
            after: 0,
        };
        let at = self.sent.iter().position(|other| other == envelope);
        let at = at.expect("a path has messages that were sent");
        let wire = named(envelope);
        let after = self.sent[..at].iter().filter(|other| named(other) == wire).count();
        self.sent.remove(at);
        Wire { after, ..wire }
    }

    /// Takes the step in the model: what is on its way and was not is new.
    fn follow(&mut self, action: &Action) {
        let next = self.model.next_state(&self.world, action.clone());
        self.world = next.expect("a path has steps that can be taken");
        let mut known = self.sent.clone();
        for envelope in &self.world.network {
            match known.iter().position(|other| other == envelope) {
                Some(at) => drop(known.swap_remove(at)),
                None => self.sent.push(envelope.clone()),
            }
        }
    }
}

fn action(request: &Request) -> scenario::Action {
    let text = |key: &Key| key.as_str().to_string();
    match request {
        Request::Put { key, value: Some(value), level } => {
            scenario::Action::Put(text(key), value.as_str().to_string(), *level)
        }
        Request::Put { key, value: None, level } => scenario::Action::Delete(text(key), *level),
        Request::Get { key, level, .. } => scenario::Action::Get(text(key), *level),
        Request::Restore { .. } => unreachable!("no model restores a backup"),
    }
}
