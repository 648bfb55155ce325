//! A process from its start to its end: it lives as often as it takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use tokio::{net::TcpListener, task::JoinSet};
use tracing::{info, warn};

use super::{
    clients, clocks,
    home::{Found, Home},
    identity::{self, Identity, identity},
    info, join,
    life::{self, Over},
    pauses, peers,
    settings::{Ended, Settings, Start},
    state::{Door, Server},
};
use crate::{
    core::{
        ring::{RING_SIZE, Ring},
        types::NodeId,
    },
    node::recover::Recovered,
};

/// Runs a server until `stop` is done, or until it left. `ready` is called once clients can connect, in
/// each life.
pub async fn serve(
    settings: Settings,
    stop: impl Future<Output = ()>,
    mut ready: impl FnMut(SocketAddr, NodeId),
) -> Result<Ended> {
    let formed = match &settings.start {
        Start::Form { members, replication } => {
            check_distinct(members).await?;
            Some(form(&settings.advertise_peer, members, *replication)?)
        }
        Start::Join { .. } => None,
    };
    let peer_listener = TcpListener::bind(&settings.peer)
        .await
        .with_context(|| format!("cannot listen for peers at {}", settings.peer))?;
    let client_listener = TcpListener::bind(&settings.client)
        .await
        .with_context(|| format!("cannot listen for clients at {}", settings.client))?;
    let client_address = client_listener.local_addr()?;
    let peer_listener = Arc::new(peer_listener);
    let door = Arc::new(Door::new(settings.clone(), client_address));
    tokio::spawn(door.clone().listen(client_listener));
    tokio::spawn(info::watch_rate(Arc::downgrade(&door)));
    tokio::spawn(pauses::look(Arc::downgrade(&door)));
    let ended = live(&door, settings, peer_listener, formed, stop, &mut ready).await;
    door.close();
    ended
}

/// Refuses a list of first members of which two are one: the ring would have a member that is not there.
/// Names that cannot be resolved here are taken as they are written.
async fn check_distinct(members: &[String]) -> Result<()> {
    let mut lookups = JoinSet::new();
    for member in members.iter().cloned() {
        lookups.spawn(async move { (join::resolve(member.clone()).await, member) });
    }
    let mut known: BTreeMap<SocketAddr, String> = BTreeMap::new();
    while let Some(found) = lookups.join_next().await {
        let (addresses, member) = found?;
        for address in addresses {
            if let Some(other) =
                known.insert(address, member.clone()).filter(|other| *other != member)
            {
                bail!(
                    "--initial-cluster has {other} and {member}, which are one address: {address}"
                );
            }
        }
    }
    Ok(())
}

/// Lives as often as it takes.
async fn live(
    door: &Arc<Door>,
    settings: Settings,
    peer_listener: Arc<TcpListener>,
    formed: Option<Identity>,
    stop: impl Future<Output = ()>,
    ready: &mut impl FnMut(SocketAddr, NodeId),
) -> Result<Ended> {
    let (Start::Form { members, .. } | Start::Join { members }) = settings.start.clone();
    let (mut known, mut next) = (members, formed);
    let (mut kept, mut head_start) = (None, Recovered::default());
    let home = settings.data.as_deref().map(Home::take).transpose()?;
    match home.as_ref().map(Home::find).transpose()? {
        None => warn!("records are in memory only: what this process holds is lost when it ends"),
        Some(Found::Nothing) => {}
        Some(Found::Member(identity, journal)) => {
            check_member(&settings, &identity)?;
            (next, kept) = (Some(identity), Some(*journal));
        }
        Some(Found::Damaged(damaged)) => {
            let others = damaged.others(settings.accept_loss)?;
            // Who was alone, and goes on with what can be read, begins as it did at first.
            if !others.is_empty() {
                (known, next) = (others, None);
            }
            head_start = damaged.recovered;
        }
    }
    let mut stop = std::pin::pin!(stop);
    loop {
        let identity = match next.take() {
            Some(identity) => identity,
            None => tokio::select! {
                biased;
                () = &mut stop => return Ok(Ended::Drained),
                joined = join(&settings, door.client_address, &known) => joined?,
            },
        };
        let kept = match (kept.take(), &home) {
            (Some(kept), _) => Some(kept),
            (None, Some(home)) => {
                let head_start = std::mem::take(&mut head_start);
                Some(home.begin(&identity, head_start.without_identity())?)
            }
            (None, None) => None,
        };
        let (server, timers, heard) = Server::new(door.clone(), identity, kept)?;
        server.spawn(timers.run(server.node.clone()));
        server.spawn(clocks::watch(server.clone()));
        server.spawn(peers::listen(server.clone(), peer_listener.clone()));
        server.spawn(peers::manage(server.clone()));
        server.spawn(clients::announce(server.clone()));
        let over = life::attend(&server, heard, stop.as_mut(), ready).await?;
        door.set_node(None);
        server.is_over.send_replace(true);
        server.close_journal().await;
        known = whom_to_ask(&server, known);
        next = match over {
            Over::Ended(ended) => return Ok(ended),
            Over::JoinsAnew => None,
            Over::Joined(identity) => Some(identity),
        };
    }
}

/// Whether a process may be the member that its journal is of.
fn check_member(settings: &Settings, Identity { ring, me, .. }: &Identity) -> Result<()> {
    let Some(member) = ring.members().get(me) else {
        bail!(
            "the journal is of {me}, which is no member of its cluster any more: what it held is the others'; to \
             join as a new member, give an empty folder (--data), and --join"
        );
    };
    ensure!(
        member.address == settings.advertise_peer,
        "the journal is of {me}, whose address for peers is {}, and this process has {}: start it with --peer {0}, or \
         give the right folder (--data)",
        member.address,
        settings.advertise_peer,
    );
    info!("{me} starts again, as the member that it was");
    Ok(())
}

/// Whom a process asks for a place after this life: the members that it knew last, all others that spoke to it
/// (one whose first ring had nobody else knows the cluster by those who refused it), and those of before.
fn whom_to_ask(server: &Server, before: Vec<String>) -> Vec<String> {
    let (ring, peers) = (server.node.ring(), server.node.ports().directory().peers());
    let members = ring.members().values().map(|member| member.address.clone());
    let met = peers.values().map(|peer| peer.address.clone());
    let mut all: Vec<String> = members.chain(met).chain(before).collect();
    let mut seen = BTreeSet::new();
    all.retain(|address| seen.insert(address.clone()));
    all
}

/// The first ring of a cluster, and who in it listens at this address.
fn form(peer: &str, members: &[String], replication: usize) -> Result<Identity> {
    let ring = Ring::form(members, replication, RING_SIZE)?;
    let me = ring.members().iter().find(|(_, member)| member.address == peer).map(|(id, _)| *id);
    let me = me.ok_or_else(|| {
        anyhow!(
            "--peer {peer} is not one of --initial-cluster {}; that list has the addresses at which nodes are \
             reached (--advertise-peer, where it is another one)",
            members.join(",")
        )
    })?;
    Ok(Identity { ring: Arc::new(ring), me, instance: identity::random() })
}

/// Joins the cluster of these members as a new one.
async fn join(settings: &Settings, listens: SocketAddr, members: &[String]) -> Result<Identity> {
    let join = settings.join(settings.told_to_clients(listens));
    info!("asking {} for a place in their ring", members.join(", "));
    let ring = join::ask_until_told(&join, members).await?;
    identity(ring, join.instance)
}
