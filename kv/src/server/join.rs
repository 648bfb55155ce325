//! Joining a cluster: a process asks a member for a place in the ring, over the port for peers.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use bytes::BytesMut;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{
    Server,
    peers::{HANDSHAKE, read_frame},
};
use crate::{
    ring::{Change, Ring},
    wire::{self, Greeting, Join, Purpose, Refusal, Welcome},
};

/// How long a member waits for the decision before it tells the one that joins to ask again.
const DECISION: Duration = Duration::from_secs(10);
/// Between two looks at the ring.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Between two rounds of asking all that are known.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A member's answer to a process that wants to be one.
pub async fn answer(server: &Server, join: &Join) -> Welcome {
    let Join { address, instance } = join.clone();
    let ring = server.node.ring();
    if !ring.members().contains_key(&server.node.id()) {
        return Welcome::Refused(Refusal::NotAMember);
    }
    let change = Change::Join { address: address.clone(), instance };
    if let Err(why) = ring.allows(&change) {
        return Welcome::Refused(Refusal::Full(why.to_string()));
    }
    if server.may_have_grown() {
        return Welcome::Wait;
    }
    if !ring.reflects(&change)
        && let Err(refusal) = check_address(server.links.address(), &address).await
    {
        return Welcome::Refused(refusal);
    }
    info!("a process at {address} asks to join");
    if !server.change_and_stay(&change) {
        return Welcome::Wait;
    }
    let started = Instant::now();
    while started.elapsed() < DECISION {
        let ring = server.node.ring();
        if ring.reflects(&change) {
            return Welcome::Member(ring);
        }
        sleep(LOOK_EVERY).await;
    }
    Welcome::Wait
}

/// Whether others can reach the one that joins where it says: a member that nobody reaches would leave
/// the change half done.
async fn check_address(ours: &str, theirs: &str) -> Result<(), Refusal> {
    let advice = "--peer must be an address at which the other members reach it";
    if theirs == ours {
        let why = format!("{theirs} is the address of the member that it asked; {advice}");
        return Err(Refusal::Address(why));
    }
    let local = |address: &str| {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    };
    if local(theirs) && !local(ours) {
        let why = format!("{theirs} is reached from its own machine only; {advice}");
        return Err(Refusal::Address(why));
    }
    let why = match timeout(HANDSHAKE, TcpStream::connect(theirs)).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(why)) => format!("{theirs} cannot be reached from {ours}: {why}; {advice}"),
        Err(_) => format!("{theirs} does not answer {ours}; {advice}"),
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

/// Asks members for a place, until one of them gives it: the ring with this process in it. An error when
/// one refuses for good.
pub async fn ask_until_told(join: &Join, members: &[String]) -> Result<Arc<Ring>> {
    let mut told: BTreeMap<&String, String> = BTreeMap::new();
    loop {
        for member in members.iter().filter(|member| **member != join.address) {
            let why = match ask(join, member).await {
                Ok(Some(ring)) => return Ok(ring),
                Ok(None) => {
                    "the members have not decided yet; a change that is under way may have to end \
                     first (orrery ring shows it), or too few members are there to decide"
                        .to_string()
                }
                Err(Failed::Refused(why)) => return Err(why),
                Err(Failed::Other(why)) => format!("{why:#}"),
            };
            // Once for each reason.
            if told.get(member) != Some(&why) {
                warn!("cannot join at {member}: {why}; trying on");
                told.insert(member, why);
            }
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
