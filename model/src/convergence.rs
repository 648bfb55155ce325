//! P1: two conflicting puts and a delete through different coordinators, a message lost, a node that
//! crashes: when all is quiet and the owners compared their digests, they hold the same.
//!
//! One of the puts is at QUORUM, and issued again where the others beat it. The others are at ONE: were they issued again
//! too, there would be too many states.

use kv::core::quorum::Level;

use crate::world::{Budget, ClusterModel, Outcome, Setup, delete, put};

/// The model.
pub fn model() -> ClusterModel {
    let plans = vec![
        vec![put(1, "a", Level::Quorum)],
        vec![put(2, "b", Level::One)],
        vec![delete(3, Level::One)],
    ];
    let setup = Setup {
        name: "convergence",
        about: "two puts and a delete, a message lost, a node that crashes, then digests",
        states: 642_067,
        clocks: vec![1, 1, 1],
        plans,
        budget: Budget { losses: 1, crashes: 1, ..Budget::default() },
        converges: true,
        ..Setup::default()
    };
    ClusterModel::new(setup)
        .quorum()
        .converges()
        .sometimes("a write is issued again", |_, world| world.has_reissued())
        .sometimes("the delete wins", |cluster, world| {
            cluster.is_quiescent(world)
                && world.held().all(|r| r.is_some_and(|r| r.value.is_none()))
        })
        .sometimes("a put wins", |cluster, world| {
            cluster.is_quiescent(world)
                && world.held().all(|r| r.is_some_and(|r| r.value.is_some()))
        })
        .sometimes("a request is unknown, for its node crashed", |_, world| {
            world.clients.iter().any(|client| client.outcomes.contains(&Outcome::Unknown))
        })
}
