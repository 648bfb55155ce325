//! LINEARIZABLE as a register: stateright's own tester looks at every history.

use kv::core::{
    env::{Failure, Reply},
    quorum::Level,
};

use crate::world::{Ask, Budget, ClusterModel, ModelState, Setup, get, put};

const LEVEL: Level = Level::Linearizable;

fn base(setup: Setup) -> ClusterModel {
    ClusterModel::new(setup)
        .quorum()
        .always("P13: histories are linearizable", |_, world: &ModelState| {
            world.history.as_ref().is_none_or(|(_, agrees)| *agrees)
        })
        .sometimes("a read finds the one value", |_, world| reads(world, "a"))
        .sometimes("a read finds nothing", |_, world| {
            (0..world.clients.len()).any(|c| world.replies(c).any(|r| *r == Reply::Found(None)))
        })
}

fn reads(world: &ModelState, value: &str) -> bool {
    let found = |reply: &Reply| match reply {
        Reply::Found(Some(record)) => record.value.as_ref().is_some_and(|v| v.as_str() == value),
        Reply::Found(None) | Reply::Written(_) | Reply::Failed(_) => false,
    };
    (0..world.clients.len()).any(|client| world.replies(client).any(found))
}

/// Two writers and a reader; messages may be late for ever.
pub fn model() -> ClusterModel {
    let plans: Vec<Vec<Ask>> = vec![
        vec![put(1, "a", LEVEL)],
        vec![put(2, "b", LEVEL)],
        vec![get(1, LEVEL), get(3, LEVEL)],
    ];
    let setup = Setup {
        name: "register",
        about: "LINEARIZABLE: two writers and a reader, no message lost",
        states: 1_649_968,
        clocks: vec![2, 1, 1],
        plans,
        budget: Budget::default(),
        is_register: true,
        ..Setup::default()
    };
    base(setup).sometimes("a read finds the other value", |_, world| reads(world, "b"))
}

/// A writer and a reader that reads twice; a message may be lost, and timers fire early.
pub fn lossy() -> ClusterModel {
    let plans = vec![vec![put(1, "a", LEVEL)], vec![get(2, LEVEL), get(3, LEVEL)]];
    let budget = Budget { losses: 1, doubles: 1, hedges: 1, timeouts: 1, ..Budget::default() };
    let setup = Setup {
        name: "register-lossy",
        about: "LINEARIZABLE: a writer and a reader, a message lost, timers early",
        states: 1_405_611,
        clocks: vec![2, 1, 1],
        plans,
        budget,
        is_register: true,
        ..Setup::default()
    };
    base(setup)
        .sometimes("a write times out", |_, world| world.has_failure(Failure::Timeout))
        .sometimes("a write is unavailable", |_, world| world.has_failure(Failure::Unavailable))
}
