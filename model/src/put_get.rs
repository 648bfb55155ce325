//! The smallest model: three replicas, a client that writes through one and then reads through
//! another, and a client that reads at any time. All orders of messages.

use kv::core::{env::Reply, quorum::Level};

use crate::world::{Budget, ClusterModel, ModelState, Setup, get, put};

/// The clients.
const WRITER: usize = 0;
const READER: usize = 1;

fn has_read(world: &ModelState, client: usize, something: bool) -> bool {
    let wanted =
        |reply: &Reply| matches!(reply, Reply::Found(found) if found.is_some() == something);
    world.replies(client).any(wanted)
}

/// The model, with all requests at one level.
pub fn model(level: Level) -> ClusterModel {
    let setup = Setup {
        name: "put-get",
        about: "a put and a get through another node, and a get at any time",
        states: 282,
        clocks: vec![1, 1, 1],
        plans: vec![vec![put(1, "v", level), get(2, level)], vec![get(3, level)]],
        budget: Budget::default(),
        ..Setup::default()
    };
    ClusterModel::new(setup)
        .quorum()
        .always("P3: a read after an ok write finds it", |_, world| !has_read(world, WRITER, false))
        .sometimes("the writer reads", |_, world| has_read(world, WRITER, true))
        .sometimes("the other reader finds the value", |_, world| has_read(world, READER, true))
        .sometimes("the other reader finds nothing", |_, world| has_read(world, READER, false))
}

#[cfg(test)]
mod tests {
    use stateright::{Checker, Model};

    use super::*;
    use crate::world::broken;

    #[test]
    fn at_one_a_read_may_miss_an_ok_write_and_the_model_finds_that() {
        let checker = model(Level::One).checker().spawn_bfs().join();
        checker.assert_any_discovery("P3: a read after an ok write finds it");
        // The promise of QUORUM alone is violated.
        assert!(checker.discovery(broken::P0).is_none());
    }
}
