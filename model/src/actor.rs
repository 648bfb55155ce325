//! stateright's actors around the core: its `Out` as one more environment.

use std::{borrow::Cow, sync::Arc};

use kv::{
    clock::Timestamp,
    env::{Clients, Clock, Entry, Journal, Network, Note, Reply, Request, Timer, Trace},
    message::Message,
    ring::Ring,
    shard::{Input, Shard, ShardConfig},
    types::{Incarnation, Micros, NodeId, RequestId},
};
use stateright::actor::{Actor, Id, Out};

/// What actors say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Said {
    /// A node to a node.
    Peer(Message),
    /// A client to a node.
    Ask(RequestId, Request),
    /// A node to a client.
    Answer(RequestId, Reply),
}

/// A client of a model: asks one request after the other, each of another node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// What to ask whom.
    pub plan: Vec<(usize, Request)>,
}

/// What a client was answered so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Answers(pub Vec<Reply>);

/// A node, which has one shard, or a client.
pub enum Part {
    /// A node of this ring.
    Node(Arc<Ring>),
    /// A client.
    Client(Client),
}

/// The state of a part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// A node's.
    Node(Box<Shard>),
    /// A client's.
    Client(Answers),
}

/// The node of an actor, and back: actors count from 0, nodes from 1.
fn node_of(id: Id) -> NodeId {
    NodeId(u32::try_from(usize::from(id) + 1).expect("few actors"))
}

fn actor_of(node: NodeId) -> Id {
    Id::from(node.0 as usize - 1)
}

/// A client's requests are numbered within the client.
fn request_id(client: Id, number: usize) -> RequestId {
    RequestId((usize::from(client) as u64) << 32 | number as u64)
}

/// The environment of a step. Time stands still: the hybrid clock's logical part moves on by itself.
/// Timers never fire: the models that use this lose no message.
struct Step<'a> {
    out: &'a mut Out<Part>,
}

impl Clock for Step<'_> {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1)
    }

    fn uptime(&self) -> Micros {
        Micros(0)
    }

    fn set_timer(&mut self, _timer: Timer, _after: Micros) {}
}

impl Network for Step<'_> {
    fn send(&mut self, to: NodeId, message: Message) {
        self.out.send(actor_of(to), Said::Peer(message));
    }
}

impl Journal for Step<'_> {
    /// Nothing crashes in the models that use this.
    fn persist(&mut self, _entry: Entry) {}
}

impl Clients for Step<'_> {
    fn reply(&mut self, request: RequestId, reply: Reply) {
        let client = usize::try_from(request.0 >> 32).expect("an actor's number");
        self.out.send(Id::from(client), Said::Answer(request, reply));
    }
}

impl Trace for Step<'_> {
    fn note(&mut self, _note: Note) {}
}

impl Actor for Part {
    type Msg = Said;
    type Timer = ();
    type State = State;
    type Storage = ();
    type Random = ();

    fn on_start(&self, id: Id, _storage: &Option<()>, out: &mut Out<Self>) -> State {
        match self {
            Part::Node(ring) => {
                let config = ShardConfig {
                    node: node_of(id),
                    shard: 0,
                    shards: 1,
                    seed: 0,
                    request_timeout: Micros(1),
                    hedge_after: Micros(1),
                    sync_every: Micros(0),
                    probe_every: Micros(0),
                    max_clock_drift: Micros(0),
                    max_in_flight: 8,
                };
                let mut shard = Shard::new(config, ring.clone(), Timestamp(0), Incarnation(1));
                shard.start(&mut Step { out });
                State::Node(Box::new(shard))
            }
            Part::Client(client) => {
                client.ask(id, 0, out);
                State::Client(Answers(Vec::new()))
            }
        }
    }

    fn on_msg(
        &self,
        id: Id,
        state: &mut Cow<'_, State>,
        from: Id,
        said: Said,
        out: &mut Out<Self>,
    ) {
        match (self, state.to_mut(), said) {
            (Part::Node(_), State::Node(shard), Said::Peer(message)) => {
                shard.handle(Input::Message(node_of(from), message), &mut Step { out });
                shard.check_invariants(None);
            }
            (Part::Node(_), State::Node(shard), Said::Ask(request, what)) => {
                shard.handle(Input::Request(request, what), &mut Step { out });
                shard.check_invariants(None);
            }
            (Part::Client(client), State::Client(answers), Said::Answer(_, reply)) => {
                answers.0.push(reply);
                client.ask(id, answers.0.len(), out);
            }
            (Part::Node(_) | Part::Client(_), _, said) => {
                unreachable!("{id:?} was told {said:?}");
            }
        }
    }
}

impl Client {
    fn ask(&self, id: Id, number: usize, out: &mut Out<Part>) {
        if let Some((node, request)) = self.plan.get(number) {
            out.send(Id::from(*node), Said::Ask(request_id(id, number), request.clone()));
        }
    }
}
