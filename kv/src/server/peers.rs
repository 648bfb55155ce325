//! The links between nodes: one connection each way. This node connects to each peer and sends its
//! messages there; what a peer has to say comes over the connection that the peer made.
//!
//! Nothing is promised: a full queue drops, a broken connection loses what was on its way.

use std::{collections::BTreeMap, future::poll_fn, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tracing::{debug, error, info, warn};

use super::{Server, ServerNode};
use crate::{
    locks::Mutex,
    message::Message,
    node::Outbox,
    queue::Queue,
    ring::ClusterId,
    types::NodeId,
    wire::{self, Hello, Refusal, Welcome},
};

/// How long a peer may take to connect, and to greet.
const HANDSHAKE: Duration = Duration::from_secs(2);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// What is known of the links.
pub struct Links {
    cluster: ClusterId,
    me: NodeId,
    /// Tells this process from any other that had or will have this node's identity.
    instance: u64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The process that was first seen behind each id.
    instances: BTreeMap<NodeId, u64>,
    /// Whether our connection to each peer stands.
    connected: BTreeMap<NodeId, bool>,
}

impl Links {
    /// The links of a process that knows nobody yet.
    pub fn new(cluster: ClusterId, me: NodeId, instance: u64) -> Self {
        Self { cluster, me, instance, inner: Mutex::default() }
    }

    /// A word for INFO.
    pub fn state(&self, peer: NodeId) -> &'static str {
        match self.inner.lock().connected.get(&peer) {
            Some(true) => "up",
            Some(false) | None => "down",
        }
    }

    /// How many connections of ours stand.
    pub fn up(&self) -> usize {
        self.inner.lock().connected.values().filter(|connected| **connected).count()
    }

    fn set(&self, peer: NodeId, connected: bool) {
        self.inner.lock().connected.insert(peer, connected);
    }

    /// Whether a process may have this id: the first one that is seen, and no other.
    fn admit(&self, peer: NodeId, instance: u64) -> bool {
        *self.inner.lock().instances.entry(peer).or_insert(instance) == instance
    }

    fn judge(&self, node: &ServerNode, hello: &Hello) -> Result<(), Refusal> {
        let is_peer = node.ports().peers().contains_key(&hello.from);
        if hello.cluster != self.cluster {
            Err(Refusal::Cluster(self.cluster))
        } else if hello.to != self.me || !is_peer {
            Err(Refusal::Identity)
        } else if !self.admit(hello.from, hello.instance) {
            Err(Refusal::Restarted)
        } else {
            Ok(())
        }
    }
}

/// Takes connections of peers, for ever.
pub async fn listen(server: Arc<Server>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let server = server.clone();
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    if let Err(why) = receive(&server, stream).await {
                        warn!("the peer connection from {from} is closed: {why:#}");
                    }
                });
            }
            Err(why) => {
                warn!("a peer connection cannot be taken: {why}");
                sleep(FIRST_BACKOFF).await;
            }
        }
    }
}

/// Receives a peer's messages.
pub async fn receive(server: &Server, mut io: impl AsyncRead + AsyncWrite + Unpin) -> Result<()> {
    let mut buffer = BytesMut::new();
    let greeting = read_frame(&mut io, &mut buffer, wire::MAX_GREETING);
    let greeting = timeout(HANDSHAKE, greeting).await.context("no greeting came in time")??;
    let Some(greeting) = greeting else { return Ok(()) };
    let judged = wire::decode_hello(&greeting)
        .and_then(|hello| server.links.judge(&server.node, &hello).map(|()| hello));
    let welcome = match &judged {
        Ok(_) => Welcome::Accepted(server.links.instance),
        Err(refusal) => Welcome::Refused(refusal.clone()),
    };
    let mut out = Vec::new();
    wire::encode(&welcome, &mut out);
    io.write_all(&out).await?;
    let hello = judged.map_err(|refusal| anyhow!("refused: {refusal}"))?;
    debug!("{} is connected to us", hello.from);

    let (mut batch, mut outbox) = (server.node.batch(), Outbox::default());
    while let Some(frame) = read_frame(&mut io, &mut buffer, wire::MAX_FRAME).await? {
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

fn take(server: &Server, from: NodeId, frame: &[u8], batch: &mut crate::node::Batch) -> Result<()> {
    for message in wire::decode_messages(frame)? {
        server.node.message(batch, from, message);
    }
    Ok(())
}

/// The next frame. None: the peer closed the connection.
async fn read_frame(
    io: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    limit: usize,
) -> Result<Option<BytesMut>> {
    loop {
        if let Some((content, used)) = wire::frame_within(buffer, limit)? {
            let header = used - content.len();
            let mut frame = buffer.split_to(used);
            frame.advance(header);
            return Ok(Some(frame));
        }
        buffer.reserve(16 * 1024);
        if io.read_buf(buffer).await? == 0 {
            match buffer.is_empty() {
                true => return Ok(None),
                false => bail!("it ended in the middle of a frame"),
            }
        }
    }
}

/// Keeps a connection to a peer and sends it what waits, for ever.
pub async fn send(server: Arc<Server>, peer: NodeId, address: String, queue: Arc<Queue<Message>>) {
    let mut backoff = FIRST_BACKOFF;
    let mut last = String::new();
    loop {
        match connect(&server, peer, &address).await {
            Ok(stream) => {
                (backoff, last) = (FIRST_BACKOFF, String::new());
                info!("connected to {peer} at {address}");
                // What waited meanwhile is old: its senders have asked again or given up.
                queue.clear();
                server.links.set(peer, true);
                server.link_changed();
                let ended = send_all(stream, &queue).await;
                server.links.set(peer, false);
                info!("the connection to {peer} ended: {ended:#}");
            }
            Err(Failed::Lost) => {
                error!("{peer} refuses this process: {}", Refusal::Restarted);
                server.give_up();
                return;
            }
            Err(Failed::Other(why)) => {
                let why = format!("{why:#}");
                // Once for each reason: a peer that is down is asked for a long time.
                if why != last {
                    warn!("cannot connect to {peer} at {address}: {why}; trying on");
                }
                last = why;
            }
        }
        // Peers that lost each other at one moment should not all come back at one moment.
        let spread = Duration::from_millis(u64::from(server.links.me.0 * 7 + peer.0 * 3) % 20);
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
    stream.set_nodelay(true)?;
    let mut out = Vec::new();
    wire::encode(&Hello::new(links.cluster, links.me, peer, links.instance), &mut out);
    stream.write_all(&out).await?;
    let mut buffer = BytesMut::new();
    let answer = timeout(HANDSHAKE, read_frame(&mut stream, &mut buffer, wire::MAX_GREETING));
    let answer = answer.await.context("it does not greet")??;
    let answer = answer.ok_or_else(|| anyhow!("it closed the connection"))?;
    match wire::decode(&answer)? {
        Welcome::Accepted(instance) if links.admit(peer, instance) => Ok(stream),
        Welcome::Accepted(_) => Err(Failed::Other(anyhow!("{}", Refusal::Restarted))),
        Welcome::Refused(Refusal::Restarted) => Err(Failed::Lost),
        Welcome::Refused(refusal) => Err(Failed::Other(anyhow!("it refuses us: {refusal}"))),
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
