//! Joining a cluster: a process asks a member for a place in the ring, over the port for peers.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::BytesMut;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{
    frames::{HANDSHAKE, read_frame},
    state::Server,
    waiting::REMEMBERED,
};
use crate::{
    core::{
        ring::{Change, ChangeError, Joiner, MemberState, Ring},
        types::NodeId,
    },
    wire::{self, Greeting, Join, Purpose, Refusal, Welcome},
};

/// How long a member waits for the decision before it tells the one that joins to ask again.
const DECISION: Duration = Duration::from_secs(10);
/// Between two looks at the ring.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Between two rounds of asking all that are known.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A process that asks here, for as long as it does. What nobody asks for any more is not to be done.
struct Asking<'a> {
    server: &'a Server,
    change: Change,
    instance: u64,
}

impl<'a> Asking<'a> {
    fn begin(server: &'a Server, joiner: Joiner) -> Self {
        server.waiting.begin(joiner.instance, &joiner.address);
        Self { server, instance: joiner.instance, change: Change::Join(joiner) }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.server.waiting.end(self.instance) {
            self.server.node.withdraw(self.change.clone());
        }
    }
}

/// A member's answer to a process that wants to be one.
pub async fn answer(server: &Server, join: &Join) -> Welcome {
    let ring = server.node.ring();
    if !ring.members().contains_key(&server.node.id()) {
        return Welcome::Refused(Refusal::NotAMember);
    }
    let Join { address, client, instance } = join.clone();
    let replaces = same_address(&ring, &address).await;
    if replaces.contains(&server.node.id()) {
        let why = format!("{address} is the address of the member that it asked; {PEER_ADVICE}");
        return Welcome::Refused(Refusal::Address(why));
    }
    if let Some(member) = other_process(server, &ring, &replaces, instance) {
        let why = format!(
            "{member} is there, and another process: our connection to it stands. If this process is to take \
             its place, end that one first; else {PEER_ADVICE}"
        );
        return Welcome::Refused(Refusal::Unreachable(why));
    }
    let asking = Asking::begin(server, Joiner { address, client, instance, replaces });
    if let Err(refusal) = may_join(server, &ring, &asking) {
        return Welcome::Refused(refusal);
    }
    if server.may_have_grown() {
        return Welcome::Wait;
    }
    if !ring.reflects(&asking.change)
        && let Err(refusal) = check_address(server.links.address(), &join.address).await
    {
        return Welcome::Refused(refusal);
    }
    info!("a process at {} asks to join", join.address);
    let (started, mut asked) = (Instant::now(), None::<Instant>);
    while started.elapsed() < DECISION {
        let ring = server.node.ring();
        if ring.reflects(&asking.change) {
            return Welcome::Member(ring);
        }
        if let Err(refusal) = may_join(server, &ring, &asking) {
            return Welcome::Refused(refusal);
        }
        // Again and again: it is forgotten when other changes come first.
        if asked.is_none_or(|asked| asked.elapsed() >= ASK_EVERY) {
            asked = Some(Instant::now());
            if !server.change_and_stay(&asking.change) {
                return Welcome::Wait;
            }
        }
        sleep(LOOK_EVERY).await;
    }
    Welcome::Wait
}

/// A member that is not this process, and that is reached at the address that it says is its own.
fn other_process(
    server: &Server,
    ring: &Ring,
    at_its_address: &BTreeSet<NodeId>,
    instance: u64,
) -> Option<NodeId> {
    let is_another = |id: &&NodeId| ring.members()[id].instance != instance;
    let mut others = at_its_address.iter().filter(is_another);
    others.find(|id| server.links.is_up(**id)).copied()
}

/// Whether one that asks may have a place, as far as the ring and the operators go.
fn may_join(server: &Server, ring: &Ring, asking: &Asking<'_>) -> Result<(), Refusal> {
    match ring.allows(&asking.change) {
        Err(ChangeError::GivenUp) => Err(Refusal::GivenUp),
        Err(why) => Err(Refusal::Full(why.to_string())),
        Ok(()) if server.waiting.refuses(asking.instance, Instant::now()) => Err(Refusal::GivenUp),
        Ok(()) => Ok(()),
    }
}

/// Sees to it that a process whose join was given up before it was decided does not get its place after all:
/// the decision may have been under way.
pub async fn keep_out(server: Arc<Server>, instance: u64) {
    let started = Instant::now();
    while started.elapsed() < REMEMBERED {
        let ring = server.node.ring();
        let found = ring.members().iter().find(|(_, member)| member.instance == instance);
        if let Some((id, member)) = found
            && member.state == MemberState::Joining
        {
            info!("the join of {id} at {} was given up: it is left out", member.address);
            server.node.change(Change::Evict(*id));
        }
        sleep(ASK_EVERY).await;
    }
}

const PEER_ADVICE: &str =
    "--peer (or --advertise-peer) must be an address at which the other members reach it";

/// The members at the address of a process that joins, also under another name of it: they are no more, for it
/// listens there. What cannot be resolved here is taken as it is written.
async fn same_address(ring: &Ring, theirs: &str) -> BTreeSet<NodeId> {
    let port = |address: &str| address.rsplit_once(':').map(|(_, port)| port.to_string());
    let members = ring.members().iter();
    let mut same: BTreeSet<NodeId> =
        members.clone().filter(|(_, m)| m.address == theirs).map(|(id, _)| *id).collect();
    let candidates =
        members.filter(|(_, m)| m.address != theirs && port(&m.address) == port(theirs));
    let candidates: Vec<(NodeId, String)> =
        candidates.map(|(id, member)| (*id, member.address.clone())).collect();
    if candidates.is_empty() {
        return same;
    }
    let ours = resolve(theirs.to_string()).await;
    let mut lookups = JoinSet::new();
    for (id, address) in candidates {
        lookups.spawn(async move { (id, resolve(address).await) });
    }
    while let Some(found) = lookups.join_next().await {
        if let Ok((id, addresses)) = found
            && !addresses.is_disjoint(&ours)
        {
            same.insert(id);
        }
    }
    same
}

/// What a name stands for; nothing, where that is not known.
pub async fn resolve(address: String) -> BTreeSet<SocketAddr> {
    match timeout(HANDSHAKE, lookup_host(address)).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(_)) | Err(_) => BTreeSet::new(),
    }
}

/// Whether others can reach the one that joins where it says: a member that nobody reaches would leave
/// the change half done.
async fn check_address(ours: &str, theirs: &str) -> Result<(), Refusal> {
    let local = |address: &str| {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    };
    if local(theirs) && !local(ours) {
        let why = format!("{theirs} is reached from its own machine only; {PEER_ADVICE}");
        return Err(Refusal::Address(why));
    }
    let why = match timeout(HANDSHAKE, TcpStream::connect(theirs)).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(why)) => format!("{theirs} cannot be reached from {ours}: {why}; {PEER_ADVICE}"),
        Err(_) => format!("{theirs} does not answer {ours}; {PEER_ADVICE}"),
    };
    Err(Refusal::Unreachable(why))
}

/// Why a process is no member, after it asked.
#[derive(Debug)]
pub enum Failed {
    /// Nobody else would answer otherwise.
    Refused(anyhow::Error),
    /// Another one may be asked, or the same one again.
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Failed::Other(error.into())
    }
}

/// Asks members for a place, all at the same time, until one of them gives it: the ring with this process in
/// it. An error when one refuses for good.
pub async fn ask_until_told(join: &Join, members: &[String]) -> Result<Arc<Ring>> {
    let mut asked = JoinSet::new();
    for member in members.iter().filter(|member| **member != join.address) {
        asked.spawn(ask_one_until_told(join.clone(), member.clone()));
    }
    match asked.join_next().await {
        Some(told) => told?,
        None => {
            bail!("there is nobody to ask but this process itself; give the --peer of a member")
        }
    }
}

async fn ask_one_until_told(join: Join, member: String) -> Result<Arc<Ring>> {
    let mut told = String::new();
    loop {
        let why = match ask(&join, &member).await {
            Ok(Some(ring)) => return Ok(ring),
            Ok(None) => {
                "the members have not decided yet; a change that is under way may have to end first \
                 (orrery ring shows it), or too few members are there to decide"
                    .to_string()
            }
            Err(Failed::Refused(why)) => return Err(why),
            Err(Failed::Other(why)) => format!("{why:#}"),
        };
        // Once for each reason.
        if told != why {
            warn!("cannot join at {member}: {why}; trying on");
            told = why;
        }
        sleep(ASK_EVERY).await;
    }
}

/// Asks one member. None: it is to be asked again.
pub async fn ask(join: &Join, member: &str) -> Result<Option<Arc<Ring>>, Failed> {
    let connecting = timeout(HANDSHAKE, TcpStream::connect(member));
    let mut stream = connecting.await.context("it does not answer")??;
    stream.set_nodelay(true)?;
    let mut out = Vec::new();
    wire::encode(&Greeting::new(Purpose::Join(join.clone())), &mut out);
    stream.write_all(&out).await?;
    let no_peer_port = || {
        Failed::Refused(anyhow!(
            "{member} is no port for peers: --join takes the --peer addresses of members, not those \
             for clients (orrery ring lists them; by default the port is 10000 above the client's)"
        ))
    };
    let mut buffer = BytesMut::new();
    let mut patience = HANDSHAKE;
    loop {
        let answer = timeout(patience, read_frame(&mut stream, &mut buffer, wire::MAX_FRAME)).await;
        let answer = match answer {
            // A server that waits for the end of a line says so when it comes.
            Err(_) if patience == HANDSHAKE => {
                patience = HANDSHAKE - Duration::from_millis(1);
                stream.write_all(b"\r\nPING\r\n").await?;
                continue;
            }
            Err(_) => return Err(Failed::Other(anyhow!("it does not answer in time"))),
            Ok(Err(why)) if why.is::<wire::WireError>() => return Err(no_peer_port()),
            Ok(Err(why)) => return Err(Failed::Other(why)),
            Ok(Ok(None)) => return Err(Failed::Other(anyhow!("it closed the connection"))),
            Ok(Ok(Some(answer))) => answer,
        };
        match wire::decode(&answer).map_err(|_| no_peer_port())? {
            // It heard us, and asks the others.
            Welcome::Accepted(_) => patience = DECISION + 2 * HANDSHAKE,
            Welcome::Member(ring) => return Ok(Some(ring)),
            Welcome::Wait => return Ok(None),
            Welcome::Refused(refusal) if refusal.is_final() => {
                return Err(Failed::Refused(anyhow!("{member} refuses: {refusal}")));
            }
            Welcome::Refused(refusal) => return Err(Failed::Other(anyhow!("{refusal}"))),
        }
    }
}
