//! A coordinator that crashes between two writes: what it issues afterwards is newer than what it
//! issued before, though its journal is all that it remembers.

use kv::core::quorum::Level;

use crate::world::{Budget, ClusterModel, Outcome, Setup, get, put};

/// The model.
pub fn model() -> ClusterModel {
    let level = Level::Quorum;
    let setup = Setup {
        name: "restart",
        about: "two puts through a node that crashes, and a get",
        states: 164_176,
        clocks: vec![1, 1, 1],
        plans: vec![vec![put(1, "a", level), put(1, "b", level)], vec![get(2, level)]],
        budget: Budget { crashes: 2, timeouts: 1, ..Budget::default() },
        converges: true,
        ..Setup::default()
    };
    ClusterModel::new(setup)
        .quorum()
        .converges()
        .sometimes("a put is unknown, for its node crashed", |_, world| {
            world.clients[0].outcomes.contains(&Outcome::Unknown)
        })
}
