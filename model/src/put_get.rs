//! The smallest model: three replicas, a client that writes through one and then reads through
//! another, and a client that reads at any time. All orders of messages, none lost.

use std::sync::Arc;

use kv::{
    env::{Reply, Request},
    quorum::Level,
    ring::Ring,
    types::{Key, Value},
};
use stateright::{
    Expectation,
    actor::{ActorModel, ActorModelState, Network},
};

use crate::actor::{Answers, Client, Part, State};

const KEY: &str = "k";
const VALUE: &str = "v";
/// The actors: three nodes, then the clients.
const NODES: usize = 3;
const WRITER: usize = 3;
const READER: usize = 4;

const P3: &str = "P3: a read after an ok write finds it";

fn get(level: Level) -> Request {
    Request::Get { key: Key::trusted(KEY), level, at_least: None }
}

fn put(level: Level) -> Request {
    let (key, value) = (Key::trusted(KEY), Some(Value::trusted(VALUE)));
    Request::Put { key, value, level }
}

fn answers(state: &ActorModelState<Part>, client: usize) -> &[Reply] {
    match state.actor_states.get(client).map(Arc::as_ref) {
        Some(State::Client(Answers(answers))) => answers,
        Some(State::Node(_)) | None => &[],
    }
}

fn found(reply: &Reply) -> Option<&str> {
    match reply {
        Reply::Found(Some(record)) => record.value.as_ref().map(|value| value.as_str()),
        Reply::Found(None) | Reply::Written(_) | Reply::Failed(_) => None,
    }
}

/// The model, with all requests at one level.
pub fn model(level: Level) -> ActorModel<Part> {
    let addresses: Vec<String> = (1..=NODES).map(|node| format!("node{node}:1")).collect();
    let ring = Arc::new(Ring::form(&addresses, NODES, 4).expect("three members fit"));
    ActorModel::new((), ())
        .actors((0..NODES).map(|_| Part::Node(ring.clone())))
        .actor(Part::Client(Client { plan: vec![(0, put(level)), (1, get(level))] }))
        .actor(Part::Client(Client { plan: vec![(2, get(level))] }))
        .init_network(Network::new_unordered_nonduplicating([]))
        .property(
            Expectation::Always,
            "P0: a read finds what was written, or nothing",
            |_, state| {
                let all = [answers(state, WRITER), answers(state, READER)].concat();
                all.iter().filter_map(found).all(|value| value == VALUE)
            },
        )
        .property(Expectation::Always, P3, |_, state| {
            answers(state, WRITER).get(1).is_none_or(|reply| found(reply) == Some(VALUE))
        })
        .property(Expectation::Sometimes, "the writer reads", |_, state| {
            answers(state, WRITER).len() == 2
        })
        .property(Expectation::Sometimes, "the other reader finds the value", |_, state| {
            answers(state, READER).iter().any(|reply| found(reply).is_some())
        })
        .property(Expectation::Sometimes, "the other reader finds nothing", |_, state| {
            answers(state, READER).iter().any(|reply| found(reply).is_none())
        })
}

#[cfg(test)]
mod tests {
    use stateright::{Checker, Model};

    use super::*;

    #[test]
    fn the_model_is_explored_to_its_end_and_holds() {
        let checker = model(Level::Quorum).checker().threads(2).spawn_bfs().join();
        assert!(checker.is_done(), "an unfinished search proves nothing");
        checker.assert_properties();
        assert_eq!(checker.unique_state_count(), 536);
    }

    #[test]
    fn at_one_a_read_may_miss_an_ok_write_and_the_model_finds_that() {
        let checker = model(Level::One).checker().spawn_bfs().join();
        checker.assert_any_discovery(P3);
        // Quorum's promise alone falls.
        assert!(checker.discovery("P0: a read finds what was written, or nothing").is_none());
    }
}
