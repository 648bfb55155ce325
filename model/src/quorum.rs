//! QUORUM: reads see what quorum writes and reads ended with before (P3, P4). That of two writes by
//! different coordinators the later one wins is *not* promised (P6), and the model shows why.

use kv::core::{env::Reply, quorum::Level};

use crate::world::{Budget, ClusterModel, ModelState, Setup, get, put};

/// Two writers, one after the other where they please, and a reader that reads twice.
pub fn model() -> ClusterModel {
    let level = Level::Quorum;
    let plans = vec![
        vec![put(1, "a", level)],
        vec![get(2, level), put(2, "b", level)],
        vec![get(3, level)],
    ];
    let setup = Setup {
        name: "quorum",
        about: "QUORUM: two writers and two readers, a hedge at any time",
        states: 321_263,
        clocks: vec![2, 1, 1],
        plans,
        budget: Budget { hedges: 1, ..Budget::default() },
        is_register: true,
        ..Setup::default()
    };
    ClusterModel::new(setup)
        .quorum()
        .sometimes("P6 is not promised: an ok write is lost to an earlier one", |_, world| {
            world.history.as_ref().is_some_and(|(_, agrees)| !agrees)
        })
        .sometimes("a read finds a value", |_, world| finds(world, true))
        .sometimes("a read finds nothing", |_, world| finds(world, false))
}

fn finds(world: &ModelState, something: bool) -> bool {
    let wanted =
        |reply: &Reply| matches!(reply, Reply::Found(found) if found.is_some() == something);
    (0..world.clients.len()).any(|client| world.replies(client).any(wanted))
}
