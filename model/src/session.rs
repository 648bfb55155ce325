//! SESSION: a client that goes from node to node reads what it wrote and what it read before.

use kv::core::{env::Reply, quorum::Level};

use crate::world::{Budget, ClusterModel, ModelState, Setup, get, put};

fn has_read(world: &ModelState, number: usize, value: &str) -> bool {
    match world.replies(0).nth(number) {
        Some(Reply::Found(Some(record))) => {
            record.value.as_ref().is_some_and(|held| held.as_str() == value)
        }
        Some(Reply::Found(None) | Reply::Written(_) | Reply::Failed(_)) | None => false,
    }
}

/// The model.
pub fn model() -> ClusterModel {
    let level = Level::Session;
    let setup = Setup {
        name: "session",
        about: "SESSION: a put and two gets through three nodes, and another put",
        states: 69_572,
        clocks: vec![1, 1, 1],
        plans: vec![
            vec![put(1, "a", level), get(2, level), get(3, level)],
            vec![put(3, "b", Level::One)],
        ],
        budget: Budget { hedges: 1, doubles: 1, ..Budget::default() },
        ..Setup::default()
    };
    ClusterModel::new(setup)
        .sometimes("it reads its own write twice", |_, world| {
            has_read(world, 1, "a") && has_read(world, 2, "a")
        })
        .sometimes("it reads the other's write, and again", |_, world| {
            has_read(world, 1, "b") && has_read(world, 2, "b")
        })
}
