//! RING: what a node says of the ring, and how an operator changes it.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Instant};

use serde_json::{Value, json};
use tracing::{info, warn};

use super::{clocks, join::keep_out, settings::NO_PLACE_YET, state::Server};
use crate::{
    core::{
        detector::Health,
        ring::{Change, ChangeError, MemberState, Ring},
        types::{NodeId, Slot},
    },
    resp::command::RingCommand,
};

/// Why a node does not do what an operator asks. Nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is no member, and knows perhaps where clients reach one.
    #[error("{me} is no member itself any more; ask a member{}", such_as(.other))]
    NoMember {
        /// The node that is asked.
        me: NodeId,
        /// Where clients reach a member.
        other: Option<String>,
    },
    /// It waits for a place in a ring itself.
    #[error("{NO_PLACE_YET}")]
    NoPlaceYet,
    /// The ring does not allow the change.
    #[error(transparent)]
    NotAllowed(#[from] ChangeError),
    /// All members are to be evicted.
    #[error("these are all members; somebody has to stay")]
    NobodyStays,
    /// A member that is to be evicted answers.
    #[error(
        "{node} seems alive: {meant}; nothing was done. If it is gone, ask again in some seconds; to evict it \
         all the same, --force (RING EVICT {node} FORCE): it hands over less, and joins anew"
    )]
    SeemsAlive {
        /// The member.
        node: NodeId,
        /// What its operator may have meant.
        meant: Meant,
    },
    /// The node that is asked is to be evicted by itself alone.
    #[error("{0} is asked, so it is not gone; ask a node that is to stay")]
    IsAsked(NodeId),
    /// It is to join at its own address.
    #[error("{member} is {me} itself; give the peer address of another member")]
    IsItself {
        /// The node that is asked.
        me: NodeId,
        /// The address that was given.
        member: String,
    },
    /// It has something to lose, and so goes to no other cluster.
    #[error("{why}; start an empty node with --join {member}")]
    WouldLose {
        /// What.
        why: WouldLose,
        /// The peer address of a member of the other cluster.
        member: String,
    },
}

fn such_as(other: &Option<String>) -> String {
    other.as_ref().map_or(String::new(), |at| format!(", such as the one at {at}"))
}

/// What is meant, most likely, by who evicts a member that is alive.
#[derive(Debug)]
pub enum Meant {
    /// To give up its join.
    Cancel,
    /// Nothing: it leaves already.
    Nothing,
    /// To let it leave.
    Leave(NodeId),
}

impl fmt::Display for Meant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Meant::Cancel => f.write_str("it joins, and `orrery cancel` gives that up"),
            Meant::Nothing => f.write_str("it leaves already, and hands over what it holds"),
            Meant::Leave(node) => {
                write!(f, "`orrery leave {node}` is meant, by which it hands over what it holds")
            }
        }
    }
}

/// Why a node cannot go to another cluster.
#[derive(Debug, thiserror::Error)]
pub enum WouldLose {
    /// It is not alone.
    #[error("{me} is in a ring with {others} other members; let it leave first")]
    Others {
        /// The node.
        me: NodeId,
        /// How many other members there are.
        others: usize,
    },
    /// It holds something.
    #[error("{me} holds {all} records (those deleted count), which would be lost")]
    Records {
        /// The node.
        me: NodeId,
        /// How many records it holds, those deleted included.
        all: usize,
    },
}

/// Does what an operator asks: the answer.
///
/// # Errors
///
/// Why not.
pub fn run(server: &Arc<Server>, command: &RingCommand<'_>) -> Result<String, Refusal> {
    let ring = server.node.ring();
    match command {
        RingCommand::Show => Ok(format!("{:#}", describe(server))),
        RingCommand::Leave(node) => leave(server, &ring, *node),
        RingCommand::Evict { nodes, force, accept_loss: true } => {
            accept_loss(server, &ring, nodes, *force)
        }
        RingCommand::Evict { nodes, force, accept_loss: false } => {
            evict(server, &ring, nodes, *force)
        }
        RingCommand::Cancel => cancel(server, &ring),
        RingCommand::Join(member) => join(server, member),
    }
}

/// Only a member can ask the others.
fn check_is_member(server: &Server, ring: &Ring) -> Result<(), Refusal> {
    let me = server.node.id();
    match ring.members().contains_key(&me) {
        true => Ok(()),
        false => {
            let members = ring.members().values();
            let other = members.map(|m| m.client.as_str()).find(|client| !client.is_empty());
            Err(Refusal::NoMember { me, other: other.map(str::to_string) })
        }
    }
}

fn leave(server: &Server, ring: &Ring, node: NodeId) -> Result<String, Refusal> {
    check_is_member(server, ring)?;
    let change = Change::Leave(node);
    ring.allows(&change)?;
    server.node.change(change);
    Ok("OK".into())
}

fn evict(server: &Server, ring: &Ring, nodes: &[NodeId], force: bool) -> Result<String, Refusal> {
    check_is_member(server, ring)?;
    let changes: Vec<Change> = nodes.iter().copied().map(Change::Evict).collect();
    for change in &changes {
        ring.allows(change)?;
    }
    if ring.members().keys().all(|id| nodes.contains(id)) {
        return Err(Refusal::NobodyStays);
    }
    if !force {
        // Those that are on their way out already were asked about before.
        let stays = |node: &&NodeId| !ring.reflects(&Change::Evict(**node));
        check_seem_gone(server, ring, nodes.iter().filter(stays))?;
    }
    changes.into_iter().for_each(|change| server.node.change(change));
    Ok("OK".into())
}

/// To evict a member that is alive is seldom what is meant: it does not hand over what only it has, and joins
/// anew.
fn check_seem_gone<'a>(
    server: &Server,
    ring: &Ring,
    nodes: impl IntoIterator<Item = &'a NodeId>,
) -> Result<(), Refusal> {
    let health = server.node.health();
    let seems_alive = |node: &NodeId| {
        // Its connections end with a process at once; that it does not answer is seen some seconds later.
        let answers = health.get(node) == Some(&Health::Alive) && server.links.is_up(*node);
        *node == server.node.id() || answers
    };
    let Some(alive) = nodes.into_iter().find(|node| seems_alive(node)) else { return Ok(()) };
    let meant = match ring.members().get(alive).map(|member| member.state) {
        Some(MemberState::Joining) => Meant::Cancel,
        Some(MemberState::Leaving) => Meant::Nothing,
        Some(MemberState::Active | MemberState::Evicted) | None => Meant::Leave(*alive),
    };
    Err(Refusal::SeemsAlive { node: *alive, meant })
}

/// Gives up the change that is under way, and the joins that wait here for their turn.
fn cancel(server: &Arc<Server>, ring: &Ring) -> Result<String, Refusal> {
    check_is_member(server, ring)?;
    let change = Change::Cancel(ring.epoch());
    let allowed = ring.allows(&change);
    let has_place = |instance| ring.members().values().any(|m| m.instance == instance);
    let refused = server.waiting.refuse_all(has_place, Instant::now());
    let mut given_up = Vec::new();
    match &allowed {
        Ok(()) => {
            server.node.change(change);
            given_up.push(format!("the change of epoch {}", ring.epoch().0));
        }
        Err(why) if refused.is_empty() => return Err(why.clone().into()),
        Err(_) => {}
    }
    for (instance, address) in refused {
        info!("an operator gave up the join of the process at {address}");
        given_up.push(format!("the join of the process at {address}"));
        server.spawn(keep_out(server.clone(), instance));
    }
    Ok(format!("OK, given up: {}", given_up.join(", ")))
}

/// An operator decides alone, for those who could are gone.
fn accept_loss(
    server: &Server,
    ring: &Ring,
    nodes: &[NodeId],
    force: bool,
) -> Result<String, Refusal> {
    check_is_member(server, ring)?;
    let me = server.node.id();
    if nodes.contains(&me) {
        return Err(Refusal::IsAsked(me));
    }
    let forced = ring.forced(&nodes.iter().copied().collect())?;
    if !force {
        check_seem_gone(server, ring, nodes)?;
    }
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
    warn!("an operator accepted a loss: {told}");
    server.node.install(forced.into());
    Ok(told)
}

fn join(server: &Server, member: &str) -> Result<String, Refusal> {
    let me = server.node.id();
    let own = server.door.client_address.to_string();
    if [&server.settings.advertise_peer, &server.client, &own].contains(&&member.to_string()) {
        return Err(Refusal::IsItself { me, member: member.to_string() });
    }
    has_nothing_to_lose(server)
        .map_err(|why| Refusal::WouldLose { why, member: member.to_string() })?;
    server.join_others(member.to_string());
    Ok("OK".into())
}

/// Whether this node may go to another cluster: it is alone in its ring, and empty.
///
/// # Errors
///
/// Why not.
pub fn has_nothing_to_lose(server: &Server) -> Result<(), WouldLose> {
    let (me, ring) = (server.node.id(), server.node.ring());
    let others = ring.members().keys().filter(|id| **id != me).count();
    if others > 0 {
        return Err(WouldLose::Others { me, others });
    }
    let (all, _) = server.node.counts();
    if all > 0 {
        return Err(WouldLose::Records { me, all });
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
                "client": (!member.client.is_empty()).then_some(&member.client),
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
    let (to_pull, to_hand_over) = server.node.moving();
    let behind = server.node.behind();
    let to_compare: Vec<String> = behind.peers_to_compare.iter().map(ToString::to_string).collect();
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
        "peers_to_compare": to_compare,
        "records_behind": behind.records_behind,
        "join_error": *server.join_error.lock(),
    })
}
