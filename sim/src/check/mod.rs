//! The properties of the store, one file each. P2, P14 and the owners of each slot are looked at after
//! each step too, by the watch; the rest when a run is over.
//!
//! To add one: name it in `property.rs`, and judge it in a file of its own. The compiler asks for the judgement, and
//! `tests/checks.rs` for a history that holds and one that violates it.

pub mod p0;
pub mod p1;
pub mod p10;
pub mod p13;
pub mod p14;
pub mod p16;
pub mod p3;
pub mod p4;
pub mod p5;
pub mod p6;
pub mod p7;
pub mod p8;
pub mod p9;
pub mod property;
mod reads;

use std::sync::Arc;

use harness::{
    property::{Judged, Property as Properties},
    tally::Tally,
    violation::Violation,
    world::World,
};
use kv::core::{
    record::Record,
    ring::Ring,
    types::{Key, NodeId},
};

use self::property::Property;
use crate::{
    evidence::Evidence,
    operator::StoreOperator,
    scenario::Scenario,
    store::{Done, Store, inspect},
};

impl Properties<Evidence> for Property {
    fn judge(self, evidence: &Evidence, tally: &mut Tally) -> Result<(), Violation> {
        let history = &evidence.history;
        match self {
            Self::P0 => p0::check(history, tally),
            Self::P1 => p1::check(evidence, tally),
            Self::P3 => p3::check(history),
            Self::P4 => p4::check(history),
            Self::P5 => p5::check(evidence),
            Self::P6 => p6::check(history),
            Self::P7 => p7::check(history),
            Self::P8 => p8::check(history, evidence.ring_changes),
            Self::P9 => p9::check(history, tally),
            Self::P10 => {
                let (crashed, lost) = (&evidence.all_crashed, &evidence.disks_lost);
                p10::check(history, crashed, lost, evidence.least_owners)
            }
            Self::P13 => p13::check(history, tally),
            Self::P14 => p14::check(history),
            Self::P16 => p16::check(history, &evidence.written, &evidence.config),
        }
    }
}

/// What a node holds of a key in the end.
#[derive(Clone, Debug)]
pub struct Held {
    /// Whether it owns the key's slot.
    pub is_owner: bool,
    /// What it holds.
    pub record: Option<Record>,
}

impl Judged for Store {
    type Evidence = Evidence;
    type Property = Property;
    type Held = Held;

    fn evidence(
        _: &Scenario,
        world: &World<Self>,
        operator: &StoreOperator,
        history: &[Done],
    ) -> Evidence {
        let rings: (&Arc<Ring>, &Arc<Ring>) = (operator.first(), operator.current());
        Evidence::of(world, history, rings, operator.disks_lost(world))
    }

    fn held(world: &World<Self>, operator: &StoreOperator, key: &str) -> Vec<(u32, Held)> {
        let ring = operator.current();
        let owners = ring.owners(ring.slot_of(key));
        let of_key = Key::trusted(key);
        let nodes = world.hosts.nodes().filter_map(|node| {
            let is_owner = owners.position(NodeId(node)).is_some();
            let record = inspect(&world.hosts, NodeId(node), |n| {
                n.inspect_key(&of_key, |shard| shard.record(key))
            });
            record.map(|record| (node, Held { is_owner, record }))
        });
        nodes.collect()
    }
}
