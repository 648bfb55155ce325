//! The links between nodes: one connection each way. This node connects to each peer and sends its
//! messages there; what a peer has to say comes over the connection that the peer made.
//!
//! Nothing is promised: a full queue drops, a broken connection loses what was on its way.

use std::{future::poll_fn, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::{Buf as _, BytesMut};
use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tracing::{debug, error, info, warn};

use super::{
    accept::Acceptor,
    frames::{HANDSHAKE, answer, read_frame},
    join,
    state::Server,
};
use crate::{
    core::{
        message::{Message, ShardBody, TopologyBody},
        types::{Epoch, NodeId},
    },
    node::{Outbox, Ports as _, delivery::Peer, queue::Queue},
    wire::{self, Greeting, Hello, Purpose, Refusal, Welcome},
};

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// What was sent and is not confirmed for so long breaks a link. The system alone would try for a quarter of an
/// hour, more and more seldom, also when the network has healed long since.
const UNCONFIRMED: Duration = Duration::from_secs(5);
/// When a link has been silent for so long, the system asks whether the other side is there.
const SILENT: Duration = Duration::from_secs(5);
/// Between two such questions, and how many are asked.
const ASK_EVERY: Duration = Duration::from_secs(2);
const ASKED: u32 = 3;

/// Takes connections of peers, for ever.
pub async fn listen(server: Arc<Server>, listener: Arc<TcpListener>) {
    let most = server.settings.places.greetings;
    let greetings = Arc::new(Semaphore::new(most));
    let mut acceptor = Acceptor::new(listener, "peer", "");
    loop {
        let (stream, from) = acceptor.next().await;
        let Ok(place) = greetings.clone().try_acquire_owned() else {
            // Peers try again; whoever else it was has nothing to do here.
            warn!(
                cause = "too many greetings",
                "the peer connection from {from} is closed: {most} others have not said who they are"
            );
            continue;
        };
        let receiver = server.clone();
        server.spawn(async move {
            // Without them it is a link all the same.
            let _ = set_options(&stream);
            if let Err(why) = receive(&receiver, stream, place).await {
                let cause = cause(&why);
                warn!(cause, "the peer connection from {from} is closed: {why:#}");
            }
        });
    }
}

/// What kind of failure this is, whatever the numbers and addresses in its text: strangers choose those.
fn cause(why: &anyhow::Error) -> String {
    let mut cause = format!("{why:#}");
    cause.retain(|letter| !letter.is_ascii_digit());
    cause.truncate(cause.floor_char_boundary(48));
    cause
}

/// Frames leave at once, and a link that the network broke is not taken for one that stands.
fn set_options(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let unconfirmed_ms = u32::try_from(UNCONFIRMED.as_millis()).expect("it is short");
    sockopt::set_tcp_user_timeout(stream, unconfirmed_ms)?;
    sockopt::set_tcp_keepidle(stream, SILENT)?;
    sockopt::set_tcp_keepintvl(stream, ASK_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, ASKED)?;
    sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}

/// Sees to it that somebody sends to each peer, for ever.
pub async fn manage(server: Arc<Server>) {
    loop {
        let directory = server.node.ports().directory();
        for (id, peer) in poll_fn(|cx| directory.poll_new(cx)).await {
            server.spawn(send(server.clone(), id, peer));
        }
    }
}

/// Somebody of this cluster knows other members at these addresses than we do: one of the two rings is older.
/// Who is of an older one may even have started again with the list of the first members, and have to learn
/// that the cluster is elsewhere. It is told our ring, and asked for its own.
fn compare_rings(server: &Server, hello: &Hello) {
    let (node, peer) = (&server.node, hello.from);
    let is_stranger = !node.ring().members().contains_key(&peer) && peer != node.id();
    if !is_stranger || !node.ports().directory().meet(peer, &hello.address) {
        return;
    }
    let ours = Message { epoch: node.ring().epoch(), body: TopologyBody::RingRequest.into() };
    let theirs = Message { epoch: Epoch(0), body: TopologyBody::RingRequest.into() };
    let (mut batch, mut outbox) = (node.batch(), Outbox::default());
    outbox.messages.push((peer, ours));
    node.flush(&mut outbox);
    node.message(&mut batch, peer, theirs);
    node.run_and_flush(&mut batch);
}

/// Asks a member for the time, for each shard. What the shards asked, or were told, before there was a way to
/// it and back is lost, and those that know enough clocks ask again only later: a member that has joined
/// meanwhile would make them know too few, and refuse writes.
fn ask_time(server: &Server, peer: NodeId) {
    let (node, ring) = (&server.node, server.node.ring());
    if !ring.members().contains_key(&peer) {
        return;
    }
    let (epoch, sent) = (ring.epoch(), node.ports().uptime());
    let probe = |shard| (peer, Message { epoch, body: ShardBody::Probe { shard, sent }.into() });
    let mut outbox = Outbox::default();
    outbox.messages.extend((0..server.settings.node.shards).map(probe));
    node.flush(&mut outbox);
}

/// Receives a peer's messages. Once it is known who speaks, the place for those that greet is free again.
async fn receive(
    server: &Server,
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    place: OwnedSemaphorePermit,
) -> Result<()> {
    let mut buffer = BytesMut::new();
    let greeting = read_frame(&mut io, &mut buffer, wire::MAX_GREETING);
    let greeting = timeout(HANDSHAKE, greeting).await.context("no greeting came in time")??;
    let Some(greeting) = greeting else { return Ok(()) };
    let judged = match wire::decode_greeting(&greeting).map(|greeting| greeting.purpose) {
        Ok(Purpose::Link(hello)) => {
            let judged = server.links.judge(&server.node, &hello);
            if judged == Err(Refusal::Identity) {
                compare_rings(server, &hello);
            }
            judged.map(|()| hello)
        }
        Ok(Purpose::Join(join)) => {
            // At once: it is to know that it is heard.
            answer(&mut io, &Welcome::Accepted(server.links.instance())).await?;
            let welcome = tokio::select! {
                biased;
                welcome = join::answer(server, &join) => welcome,
                () = ended(&mut io) => return Ok(()),
            };
            answer(&mut io, &welcome).await?;
            return match welcome {
                Welcome::Refused(refusal) => bail!("{} may not join: {refusal}", join.address),
                Welcome::Accepted(_) | Welcome::Member(_) | Welcome::Wait => Ok(()),
            };
        }
        Err(refusal) => Err(refusal),
    };
    answer(
        &mut io,
        &match &judged {
            Ok(_) => Welcome::Accepted(server.links.instance()),
            Err(refusal) => Welcome::Refused(refusal.clone()),
        },
    )
    .await?;
    let hello = judged.map_err(|refusal| anyhow!("refused: {refusal}"))?;
    drop(place);
    debug!("{} is connected to us", hello.from);
    take_all(server, &hello, io, buffer).await
}

/// Takes what a peer says, until its connection ends.
async fn take_all(
    server: &Server,
    hello: &Hello,
    mut io: impl AsyncRead + Unpin,
    mut buffer: BytesMut,
) -> Result<()> {
    let (mut batch, mut outbox) = (server.node.batch(), Outbox::default());
    let mut is_first = true;
    while let Some(frame) = read_frame(&mut io, &mut buffer, wire::MAX_FRAME).await? {
        // It may have been given up since its hello, and whoever speaks is to be answered.
        server.node.ports().directory().meet(hello.from, &hello.address);
        if std::mem::take(&mut is_first) {
            // From now on nothing that it says is lost; where we have no way to it yet, it is asked then.
            ask_time(server, hello.from);
        }
        take(server, hello.from, &frame, &mut batch)?;
        // Whatever else has arrived runs in the same batch.
        while let Some((content, used)) = wire::frame(&buffer)? {
            take(server, hello.from, content, &mut batch)?;
            buffer.advance(used);
        }
        server.node.run(&mut batch, &mut outbox);
        server.node.flush(&mut outbox);
    }
    Ok(())
}

/// Waits until the other side ends the connection. What it says meanwhile is of no interest.
async fn ended(io: &mut (impl AsyncRead + Unpin)) {
    let mut said = [0; 64];
    while matches!(io.read(&mut said).await, Ok(size) if size > 0) {}
}

fn take(server: &Server, from: NodeId, frame: &[u8], batch: &mut crate::node::Batch) -> Result<()> {
    for message in wire::decode_messages(frame)? {
        server.node.message(batch, from, message);
    }
    Ok(())
}

/// Keeps a connection to a peer and sends it what waits: to a member for ever, to another until it could not be
/// reached a few times in a row.
async fn send(server: Arc<Server>, id: NodeId, peer: Arc<Peer>) {
    let mut backoff = FIRST_BACKOFF;
    let mut last = String::new();
    let address = &peer.address;
    loop {
        match connect(&server, id, address).await {
            Ok(stream) => {
                (backoff, last) = (FIRST_BACKOFF, String::new());
                info!("connected to {id} at {address}");
                // What waited meanwhile is old: its senders have asked again or given up.
                peer.queue.clear();
                server.links.set(id, true);
                server.link_changed();
                ask_time(&server, id);
                let ended = send_all(stream, &peer.queue).await;
                server.links.set(id, false);
                info!("the connection to {id} ended: {ended:#}");
            }
            Err(Failed::Lost) => {
                error!("{id} refuses this process: {}", Refusal::Restarted);
                server.refused();
                return;
            }
            Err(Failed::Other(why)) => {
                let why = format!("{why:#}");
                // Once for each reason: a peer that is down is asked for a long time.
                if why != last {
                    warn!("cannot connect to {id} at {address}: {why}; trying on");
                }
                last = why;
                // Not at the first failure, nor when a link ends: one who leaves while the network is bad
                // waits for our answer, and nobody but us may still owe it one.
                let is_far = backoff == LONGEST_BACKOFF;
                if is_far && server.node.ports().directory().forget(id, &peer) {
                    info!("{id} at {address} is no member and cannot be reached: it is left alone");
                    return;
                }
            }
        }
        // Peers that lost each other at one moment should not all come back at one moment.
        let spread = Duration::from_millis(u64::from(server.node.id().0 * 7 + id.0 * 3) % 20);
        sleep(backoff + spread).await;
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

enum Failed {
    /// This process may not be who it says.
    Lost,
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Failed::Other(error.into())
    }
}

async fn connect(server: &Server, peer: NodeId, address: &str) -> Result<TcpStream, Failed> {
    let links = &server.links;
    let connecting = timeout(HANDSHAKE, TcpStream::connect(address));
    let mut stream = connecting.await.context("it does not answer")??;
    set_options(&stream)?;
    let mut out = Vec::new();
    wire::encode(&Greeting::new(Purpose::Link(links.hello(peer))), &mut out);
    stream.write_all(&out).await?;
    let mut buffer = BytesMut::new();
    let answer = timeout(HANDSHAKE, read_frame(&mut stream, &mut buffer, wire::MAX_GREETING));
    let answer = answer.await.context("it does not greet")??;
    let answer = answer.ok_or_else(|| anyhow!("it closed the connection"))?;
    match wire::decode(&answer)? {
        Welcome::Accepted(instance) if links.admit(&server.node.ring(), peer, instance) => {
            Ok(stream)
        }
        Welcome::Accepted(_) => Err(Failed::Other(anyhow!("{}", Refusal::Restarted))),
        Welcome::Refused(Refusal::Restarted) => Err(Failed::Lost),
        Welcome::Refused(refusal) => Err(Failed::Other(anyhow!("it refuses us: {refusal}"))),
        Welcome::Member(_) | Welcome::Wait => Err(Failed::Other(anyhow!("its answer is not one"))),
    }
}

/// Sends until the connection breaks: why it did.
async fn send_all(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    queue: &Queue<Message>,
) -> anyhow::Error {
    let (mut messages, mut out) = (Vec::new(), Vec::new());
    let mut nothing = [0; 1];
    loop {
        tokio::select! {
            biased;
            _ = poll_fn(|cx| queue.poll_take(cx, &mut messages)) => {}
            // A peer has nothing to say here: it closed, or it is no peer.
            read = io.read(&mut nothing) => return match read {
                Ok(0) => anyhow!("the peer closed it"),
                Ok(_) => anyhow!("the peer said something unexpected"),
                Err(why) => why.into(),
            },
        }
        wire::encode_messages(&messages, &mut out);
        messages.clear();
        if let Err(why) = io.write_all(&out).await {
            return why.into();
        }
        out.clear();
        out.shrink_to(256 * 1024);
    }
}
