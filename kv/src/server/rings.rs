//! RING: what a node says of the ring, and how an operator changes it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tracing::warn;

use super::{Server, admin, clocks};
use crate::{
    resp::command::RingCommand,
    ring::{Change, Ring},
    shard::Shard,
    types::{NodeId, Slot},
};

/// Does what an operator asks: the answer, or why not.
pub fn run(server: &Server, command: &RingCommand<'_>) -> Result<String, String> {
    let ring = server.node.ring();
    match command {
        RingCommand::Show => Ok(format!("{:#}", describe(server))),
        RingCommand::Leave(node) => ask(server, &ring, &[Change::Leave(*node)]),
        RingCommand::Evict(nodes) => {
            let changes: Vec<Change> = nodes.iter().copied().map(Change::Evict).collect();
            ask(server, &ring, &changes)
        }
        RingCommand::Cancel => ask(server, &ring, &[Change::Cancel(ring.epoch())]),
        RingCommand::Force(nodes) => force(server, &ring, nodes),
        RingCommand::Join(member) => join(server, member),
    }
}

fn ask(server: &Server, ring: &Ring, changes: &[Change]) -> Result<String, String> {
    let me = server.node.id();
    if !ring.members().contains_key(&me) {
        return Err(format!("{me} is no member itself any more; ask a member"));
    }
    for change in changes {
        ring.allows(change).map_err(|why| why.to_string())?;
    }
    let goes = |id: &NodeId| changes.contains(&Change::Evict(*id));
    if ring.members().keys().all(goes) {
        return Err("these are all members; somebody has to stay".into());
    }
    changes.iter().for_each(|change| server.node.change(change.clone()));
    Ok("OK".into())
}

/// An operator decides alone, for those who could are gone.
fn force(server: &Server, ring: &Ring, nodes: &[NodeId]) -> Result<String, String> {
    let me = server.node.id();
    if !ring.members().contains_key(&me) {
        return Err(format!("{me} is no member itself any more; ask a member"));
    }
    if nodes.contains(&me) {
        return Err(format!("{me} is asked, so it is not gone; ask a node that is to stay"));
    }
    let forced = ring.forced(&nodes.iter().copied().collect()).map_err(|why| why.to_string())?;
    let gone = nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let stay = forced.members().keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let told = format!(
        "ring {} without {gone} is in force at {me}; its members: {stay}. What only {gone} held is lost: \
         writes that nobody else had acknowledged, perhaps also some that were answered with OK. \
         Until the members that stay have compared what they hold, reads may miss more. Never start \
         {gone} again with their old rings: together they could still decide on one of their own. \
         New processes may join",
        forced.epoch().0,
    );
    warn!("an operator forced a ring: {told}");
    server.node.install(forced.into());
    Ok(told)
}

fn join(server: &Server, member: &str) -> Result<String, String> {
    let me = server.node.id();
    if *member == server.settings.peer || *member == server.door.client_address.to_string() {
        return Err(format!("{member} is {me} itself; give the peer address of another member"));
    }
    has_nothing_to_lose(server)
        .map_err(|why| format!("{why}; start an empty node with --join {member}"))?;
    server.join_others(member.to_string());
    Ok("OK".into())
}

/// Whether this node may go to another cluster: it is alone in its ring, and empty. Else why not.
pub fn has_nothing_to_lose(server: &Server) -> Result<(), String> {
    let (me, ring) = (server.node.id(), server.node.ring());
    let others = ring.members().keys().filter(|id| **id != me).count();
    if others > 0 {
        return Err(format!("{me} is in a ring with {others} other members; let it leave first"));
    }
    let (all, _) = admin::record_counts(server);
    if all > 0 {
        return Err(format!("{me} holds {all} records (those deleted count), which would be lost"));
    }
    Ok(())
}

/// How many slots each member owns, as the old or as the new owner.
fn slots_of_members(ring: &Ring) -> BTreeMap<NodeId, usize> {
    let mut counts: BTreeMap<NodeId, usize> = ring.members().keys().map(|id| (*id, 0)).collect();
    for slot in 0..ring.size() {
        for owner in ring.owners(Slot(slot)).all() {
            *counts.entry(*owner).or_default() += 1;
        }
    }
    counts
}

/// Slots that a node has still to pull, and still to hand over.
pub fn moving(server: &Server) -> (usize, usize) {
    let moving = |shard| server.node.inspect(shard, Shard::moving);
    (0..server.node.shards()).map(moving).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn describe(server: &Server) -> Value {
    let ring = server.node.ring();
    let counts = slots_of_members(&ring);
    let health = server.node.health();
    let clocks = clocks::measured(&server.node).ahead_us;
    let all: usize = counts.values().sum();
    let members: Vec<Value> = ring
        .members()
        .iter()
        .map(|(id, member)| {
            let slots = counts[id];
            json!({
                "id": id.to_string(),
                "address": member.address,
                "state": format!("{:?}", member.state),
                // Of itself a node has no opinion.
                "seems": health.get(id).map(|health| health.name()),
                // How far its clock is ahead of the median of those that were measured, where it was.
                "clock_offset_us": clocks.get(id),
                "tokens": member.tokens.len(),
                "slots": slots,
                "share": slots as f64 / all.max(1) as f64,
            })
        })
        .collect();
    let (to_pull, to_hand_over) = moving(server);
    json!({
        "cluster": ring.cluster().to_string(),
        "epoch": ring.epoch().0,
        "joint": ring.is_joint(),
        "replication": ring.replication(),
        "node": server.node.id().to_string(),
        "clock_offset_us": clocks.get(&server.node.id()),
        "released": server.node.is_released(),
        "serves": server.serves(),
        "members": members,
        "slots_to_pull": to_pull,
        "slots_to_hand_over": to_hand_over,
        "join_error": *server.join_error.lock(),
    })
}
