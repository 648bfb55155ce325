//! A lock that node 1 keeps for all, with a mistake: who holds it is in memory only, so that after a crash another
//! client gets it too. It is a [`System`] of its own, with all that one has to say. Without arguments it finds a seed
//! that shows the mistake; a seed replays that one; `mended` runs the same nodes with a journal.
use std::{collections::BTreeMap, env::args, io};

use harness::{
    history::{Done, Outcome},
    operator::{Idle, Operated},
    property::{Judged, Property},
    scenario::{self, Plain, Scenario},
    search::search,
    story::narrator::{self, Narrated},
    swarm,
    system::{DoneOf, Input, Io, ScenarioOf, System},
    tally::Tally,
    violation::Violation,
    watch::Watched,
    world::World,
};
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Action {
    Acquire,
    Release,
}

impl scenario::Action for Action {
    fn key(&self) -> &str {
        "the lock"
    }

    fn name(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// The same on its way to a node: a release names the ticket under which the lock was acquired.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Ask {
    Acquire,
    Release(u64),
}

/// What nodes say to each other, each with the ticket of the operation.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Message {
    Acquire(u64),
    Release(u64, u64),
    Say(u64, Reply),
}

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reply {
    Granted,
    Busy,
    Released,
}

/// A node, with a journal or without.
pub(crate) struct Node<const MENDED: bool> {
    me: u32,
    /// The ticket under which the lock was acquired, if it is held.
    holder: Option<u64>,
    /// What may be said once so many entries of the journal are durable.
    held_back: Vec<(u64, u32, Message)>,
}

/// The system.
pub(crate) struct Lock<const MENDED: bool>;

impl<const MENDED: bool> Node<MENDED> {
    /// The lock changes hands, and somebody is told.
    fn hold(&mut self, holder: Option<u64>, to: u32, say: Message, io: &Io<Lock<MENDED>>) {
        self.holder = holder;
        match MENDED {
            true => self.held_back.push((io.append(holder), to, say)),
            false => io.send(to, say),
        }
    }
}

impl<const MENDED: bool> System for Lock<MENDED> {
    type Setup = Plain;
    type Birth = ();
    type Node = Node<MENDED>;
    type Message = Message;
    type Timer = ();
    type Entry = Option<u64>;
    type Action = Action;
    type Ask = Ask;
    type Reply = Reply;
    type Answer = Reply;
    /// The ticket under which it holds the lock.
    type Client = Option<u64>;
    type Wish = ();
    type Change = ();

    fn start(_: &Plain, me: u32, (): (), kept: Vec<Option<u64>>, _: Io<Self>) -> Node<MENDED> {
        Node { me, holder: kept.last().copied().flatten(), held_back: Vec::new() }
    }

    fn step(node: &mut Node<MENDED>, input: Input<Self>, io: &Io<Self>) {
        match input {
            Input::Ask(ticket, Ask::Acquire) => io.send(1, Message::Acquire(ticket)),
            Input::Ask(ticket, Ask::Release(of)) => io.send(1, Message::Release(ticket, of)),
            Input::Message(from, Message::Acquire(ticket)) => {
                assert_eq!(node.me, 1);
                if node.holder.is_some_and(|holder| holder != ticket) {
                    io.send(from, Message::Say(ticket, Reply::Busy));
                } else {
                    node.hold(Some(ticket), from, Message::Say(ticket, Reply::Granted), io);
                }
            }
            Input::Message(from, Message::Release(ticket, of)) => {
                let say = Message::Say(ticket, Reply::Released);
                match node.holder == Some(of) {
                    true => node.hold(None, from, say, io),
                    false => io.send(from, say),
                }
            }
            Input::Message(_, Message::Say(ticket, reply)) => io.answer(ticket, reply),
            Input::Durable(upto) => {
                let durable = node.held_back.extract_if(.., |(after, _, _)| *after <= upto);
                durable.for_each(|(_, to, say)| io.send(to, say));
            }
            Input::Timer(()) | Input::Change(()) => {}
        }
    }

    fn patience_us(_: &Plain) -> u64 {
        1_000_000
    }

    fn client(_: &Plain) -> Option<u64> {
        None
    }

    fn ask(
        client: Option<&mut Option<u64>>,
        _: u64,
        action: &Action,
        _: &Node<MENDED>,
        _: &mut Tally,
    ) -> Ask {
        match (action, client) {
            (Action::Release, Some(held)) => Ask::Release(held.take().unwrap_or(u64::MAX)),
            (Action::Release, None) => Ask::Release(u64::MAX),
            (Action::Acquire, _) => Ask::Acquire,
        }
    }

    fn outcome(
        _: Option<&Option<u64>>,
        _: &DoneOf<Self>,
        reply: Reply,
        _: Option<&Node<MENDED>>,
    ) -> Outcome<Reply> {
        match reply {
            Reply::Busy => Outcome::Failed("busy"),
            other => Outcome::Ok(other),
        }
    }

    fn ended(client: &mut Option<u64>, ticket: u64, done: &DoneOf<Self>) {
        if done.outcome.answer() == Some(&Reply::Granted) {
            *client = Some(ticket);
        }
    }
}

impl<const MENDED: bool> Watched for Lock<MENDED> {
    type Watch = ();
}

impl<const MENDED: bool> Operated for Lock<MENDED> {
    type Operator = Idle;
}

/// What is promised.
#[derive(Clone, Copy, Debug, VariantArray, IntoStaticStr)]
pub(crate) enum Promise {
    /// No two clients hold the lock at a time.
    OneHolder,
}

impl<const MENDED: bool> Judged for Lock<MENDED> {
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

impl Property<Vec<Done<Action, Reply>>> for Promise {
    fn judge(self, history: &Vec<Done<Action, Reply>>, _: &mut Tally) -> Result<(), Violation> {
        // Moments: a client has the lock from its answer to its next release.
        let mut moments: BTreeMap<u64, (u32, usize, bool)> = BTreeMap::new();
        for (place, done) in history.iter().enumerate() {
            match done.action {
                Action::Acquire => {
                    let granted = done.outcome.answer().and(done.returned);
                    granted.map(|at| moments.insert(at, (done.client, place, true)));
                }
                Action::Release => {
                    moments.insert(done.invoked, (done.client, place, false));
                }
            }
        }
        let mut holder: Option<(u32, usize)> = None;
        for (client, place, acquired) in moments.into_values() {
            match (acquired, holder) {
                (true, Some((other, before))) if other != client => {
                    let what = format!("op {place} was granted the lock that op {before} holds");
                    return Err(Violation::new(self, what).shown_by("the lock", &[before, place]));
                }
                (true, _) => holder = Some((client, place)),
                (false, Some((other, _))) if other == client => holder = None,
                (false, _) => {}
            }
        }
        Ok(())
    }
}

impl<const MENDED: bool> Narrated for Lock<MENDED> {
    type Narrator = narrator::Plain;
}

/// A seed's scenario.
pub(crate) fn scenario(seed: u64, nodes: u32) -> Scenario<Plain, Action, ()> {
    swarm::scenario(seed, nodes, 3, &[Action::Acquire, Action::Release])
}

fn main() -> io::Result<()> {
    let argument = args().nth(1).unwrap_or_default();
    let seeds = argument.parse().map_or(0..5_000, |seed: u64| seed..seed + 1);
    let replay = "cargo run -p harness --example lock --";
    match argument.as_str() {
        "mended" => search::<Lock<true>>(seeds, |seed| scenario(seed, 3), replay).map(drop),
        _ => search::<Lock<false>>(seeds, |seed| scenario(seed, 3), replay).map(drop),
    }
}
