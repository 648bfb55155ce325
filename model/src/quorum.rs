//! QUORUM: reads see what quorum writes and reads ended with before (P3, P4), and writes beat it (P6), though the clock
//! of their coordinator is behind.

use kv::core::{env::Reply, quorum::Level};

use crate::world::{ClusterModel, ModelState, Setup, get, put};

const LEVEL: Level = Level::Quorum;

/// Two writers, one after the other where they please, and a reader.
pub fn model() -> ClusterModel {
    let plans = vec![
        vec![put(1, "a", LEVEL)],
        vec![get(2, LEVEL), put(2, "b", LEVEL)],
        vec![get(3, LEVEL)],
    ];
    let setup = Setup {
        name: "quorum",
        about: "QUORUM: two writers and two readers",
        states: 117_468,
        clocks: vec![2, 1, 1],
        plans,
        ..Setup::default()
    };
    base(setup)
        .sometimes("a read finds a value", |_, world| finds(world, true))
        .sometimes("a read finds nothing", |_, world| finds(world, false))
}

/// A write is issued again, and what was said of its first issue is late.
pub fn again() -> ClusterModel {
    let setup = Setup {
        name: "quorum-again",
        about: "QUORUM: a write by a clock that is behind, and a read after it",
        states: 12_179,
        clocks: vec![2, 1, 1],
        plans: vec![vec![put(1, "a", LEVEL)], vec![put(2, "b", LEVEL), get(3, LEVEL)]],
        ..Setup::default()
    };
    base(setup)
}

fn base(setup: Setup) -> ClusterModel {
    ClusterModel::new(setup)
        .quorum()
        .sometimes("a write is issued again", |_, world| world.has_reissued())
}

fn finds(world: &ModelState, something: bool) -> bool {
    let wanted =
        |reply: &Reply| matches!(reply, Reply::Found(found) if found.is_some() == something);
    (0..world.clients.len()).any(|client| world.replies(client).any(wanted))
}
