//! The smallest system: nodes that keep one value, which clients put and get.
//!
//! A [`Protocol`] says what the nodes do. The rest of a [`System`] is here: what clients ask, and that no
//! operation goes back.

use std::{fmt::Debug, hash::Hash, marker::PhantomData};

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::{
    history::{Done, Outcome},
    operator::{Idle, Operated},
    order::{Begun, overtaken},
    property::{Judged, Property},
    scenario::{self, Plain, Scenario},
    story::narrator::{self, Narrated},
    swarm,
    system::{DoneOf, Input, Io, ScenarioOf, System},
    tally::Tally,
    violation::Violation,
    watch::Watched,
    world::World,
};

/// How the nodes keep a value.
pub trait Protocol: Sized + 'static {
    /// What they say to each other.
    type Message: Clone + Debug + Hash;
    /// A value, which is its own version: of two, the greater one is newer.
    type Value: Clone + Debug + Hash + Ord;

    /// A node of so many starts, on what its journal kept.
    fn start(me: u32, nodes: u32, kept: Vec<Self::Value>) -> Self;

    /// A client puts a value, or gets one: to be answered by [`Io::answer`], under the ticket.
    fn ask(&mut self, ticket: u64, action: Action, io: &Io<Register<Self>>);

    /// A message arrives.
    fn message(&mut self, from: u32, message: Self::Message, io: &Io<Register<Self>>);

    /// So many entries of the journal are durable.
    fn durable(&mut self, upto: u64, io: &Io<Register<Self>>) {
        let _ = (upto, io);
    }
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// It puts a value.
    Put,
    /// It gets the value.
    Get,
}

impl scenario::Action for Action {
    fn key(&self) -> &str {
        "the register"
    }

    fn name(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// The system whose nodes follow a protocol.
pub struct Register<P>(PhantomData<P>);

impl<P: Protocol> System for Register<P> {
    type Setup = Plain;
    type Birth = ();
    type Node = P;
    type Message = P::Message;
    type Timer = ();
    type Entry = P::Value;
    type Action = Action;
    type Ask = Action;
    type Reply = P::Value;
    type Answer = P::Value;
    type Client = ();
    type Wish = ();
    type Change = ();

    fn start(setup: &Plain, node: u32, (): (), kept: Vec<P::Value>, _: Io<Self>) -> P {
        P::start(node, setup.nodes, kept)
    }

    fn step(node: &mut P, input: Input<Self>, io: &Io<Self>) {
        match input {
            Input::Message(from, message) => node.message(from, message, io),
            Input::Ask(ticket, action) => node.ask(ticket, action, io),
            Input::Durable(upto) => node.durable(upto, io),
            Input::Timer(()) | Input::Change(()) => {}
        }
    }

    fn patience_us(_: &Plain) -> u64 {
        1_000_000
    }

    fn client(_: &Plain) {}

    fn ask(_: Option<&mut ()>, _: u64, action: &Action, _: &P, _: &mut Tally) -> Action {
        *action
    }

    fn outcome(
        _: Option<&()>,
        _: &DoneOf<Self>,
        reply: P::Value,
        _: Option<&P>,
    ) -> Outcome<P::Value> {
        Outcome::Ok(reply)
    }
}

impl<P: Protocol> Watched for Register<P> {
    type Watch = ();
}

impl<P: Protocol> Operated for Register<P> {
    type Operator = Idle;
}

/// What is promised of a register.
#[derive(Clone, Copy, Debug, VariantArray, IntoStaticStr)]
pub enum Promise {
    /// What an operation saw, every operation that begins later sees too, or something newer; and each put is
    /// newer than all that had ended when it began.
    NeverBack,
}

impl<P: Protocol> Judged for Register<P> {
    type Evidence = Vec<DoneOf<Self>>;
    type Property = Promise;
    type Held = ();

    fn evidence(
        _: &ScenarioOf<Self>,
        _: &World<Self>,
        _: &Idle,
        history: &[DoneOf<Self>],
    ) -> Self::Evidence {
        history.to_vec()
    }
}

impl<V: Clone + Debug + Ord> Property<Vec<Done<Action, V>>> for Promise {
    fn judge(self, history: &Vec<Done<Action, V>>, _: &mut Tally) -> Result<(), Violation> {
        let ok = |done: &Done<Action, V>| Some((done.returned?, done.outcome.answer()?.clone()));
        let ended = history.iter().enumerate();
        let seen = ended.filter_map(|(place, done)| ok(done).map(|(at, value)| (at, value, place)));
        let begun = history.iter().enumerate().filter_map(|(place, done)| {
            let is_write = done.action == Action::Put;
            let version = done.outcome.answer()?.clone();
            Some(Begun { at: done.invoked, version: Some(version), place, is_write })
        });
        let Some((begun, (_, newer, before))) = overtaken(seen.collect(), begun.collect()) else {
            return Ok(());
        };
        let (place, found) = (begun.place, begun.version);
        let what = format!(
            "op {place} began after op {before} had ended with {newer:?}, and ended with {}",
            found.map_or("nothing".into(), |found| format!("{found:?}"))
        );
        Err(Violation::new(self, what).shown_by("the register", &[before, place]))
    }
}

impl<P: Protocol> Narrated for Register<P> {
    type Narrator = narrator::Plain;
}

/// A seed's scenario of so many nodes: more gets than puts.
pub fn scenario(seed: u64, nodes: u32) -> Scenario<Plain, Action, ()> {
    swarm::scenario(seed, nodes, 4, &[Action::Put, Action::Get, Action::Get])
}
