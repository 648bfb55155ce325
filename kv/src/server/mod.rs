//! The server: a node with sockets. tokio executes; what waits for what is decided by our own queues.

pub mod admin;
mod commands;
mod outcomes;
mod peers;
mod pipeline;
mod ports;
mod recall;
mod session;
mod timers;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use self::{outcomes::Totals, peers::Links, ports::ServerPorts, session::Session, timers::Timers};
use crate::{
    config::NodeConfig,
    locks::atomic::{AtomicU64, Ordering},
    node::Node,
    quorum::Level,
    recover::Recovered,
    resp::reply,
    ring::{RING_SIZE, Ring},
    shard::Shard,
    types::NodeId,
};

/// How often a server that is not ready looks whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A node as a server runs it.
type ServerNode = Node<ServerPorts>;

/// What a server is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients connect.
    pub client: String,
    /// Where peers connect: this node's address in the list of members.
    pub peer: String,
    /// The members of the first ring, the same on each node.
    pub members: Vec<String>,
    /// R.
    pub replication: usize,
    /// Client connections at a time; further ones are refused.
    pub most_clients: usize,
    /// The level of reads where a connection does not choose.
    pub default_read: Level,
    /// The level of writes where a connection does not choose.
    pub default_write: Level,
    /// The node's settings.
    pub node: NodeConfig,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Drained,
    /// Its peers refuse it.
    Refused,
}

/// A server that runs.
pub struct Server {
    node: Arc<ServerNode>,
    settings: Settings,
    client_address: SocketAddr,
    links: Links,
    started: Instant,
    rejected: AtomicU64,
    outcomes: Totals,
    /// Says so when a link comes up, and when peers refuse this process.
    news: watch::Sender<News>,
}

#[derive(Clone, Copy, Debug, Default)]
struct News {
    links_up: usize,
    refused: bool,
}

impl Server {
    /// A server that has no socket yet, its timers, and what there will be to hear of its links.
    fn new(
        settings: Settings,
        ring: Arc<Ring>,
        me: NodeId,
        client_address: SocketAddr,
    ) -> (Arc<Self>, Arc<Timers>, watch::Receiver<News>) {
        let timers = Arc::new(Timers::default());
        let peers = ring.members().keys().copied().filter(|peer| *peer != me);
        let ports = ServerPorts::new(peers, timers.clone());
        let links = Links::new(ring.cluster(), me, random());
        let node = Node::start(me, &settings.node, ring, Recovered::default(), ports);
        let (news, heard) = watch::channel(News::default());
        let server = Self {
            node: Arc::new(node),
            settings,
            client_address,
            links,
            started: Instant::now(),
            rejected: AtomicU64::new(0),
            outcomes: Totals::default(),
            news,
        };
        (Arc::new(server), timers, heard)
    }

    /// Since when it runs.
    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Connections that were refused because there were too many.
    fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    fn link_changed(&self) {
        let links_up = self.links.up();
        self.news.send_modify(|news| news.links_up = links_up);
    }

    fn give_up(&self) {
        self.news.send_modify(|news| news.refused = true);
    }
}

/// Runs a server until `stop` is done. `ready` is called once clients can connect.
pub async fn serve(
    settings: Settings,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(SocketAddr, NodeId),
) -> Result<Ended> {
    let ring = Ring::form(&settings.members, settings.replication, RING_SIZE)?;
    let me = ring.members().iter().find(|(_, member)| member.address == settings.peer);
    let (me, _) = me.ok_or_else(|| {
        anyhow!(
            "--peer {} is not one of --initial-cluster {}",
            settings.peer,
            settings.members.join(",")
        )
    })?;
    let me = *me;
    let peer_listener = TcpListener::bind(&settings.peer)
        .await
        .with_context(|| format!("cannot listen for peers at {}", settings.peer))?;
    let client_listener = TcpListener::bind(&settings.client)
        .await
        .with_context(|| format!("cannot listen for clients at {}", settings.client))?;
    let client_address = client_listener.local_addr()?;
    warn!("records are in memory only: what this process holds is lost when it ends");

    let (server, timers, heard) = Server::new(settings, Arc::new(ring), me, client_address);
    tokio::spawn(timers.run(server.node.clone()));
    tokio::spawn(peers::listen(server.clone(), peer_listener));
    for (id, member) in server.node.ring().members() {
        if let Some(queue) = server.node.ports().peers().get(id) {
            let (address, queue) = (member.address.clone(), queue.clone());
            tokio::spawn(peers::send(server.clone(), *id, address, queue));
        }
    }
    attend(&server, client_listener, heard, stop, ready).await
}

/// Waits until clients may be served, serves them, and drains when `stop` is done.
async fn attend(
    server: &Arc<Server>,
    listener: TcpListener,
    mut heard: watch::Receiver<News>,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(SocketAddr, NodeId),
) -> Result<Ended> {
    let me = server.node.id();
    let majority = server.node.ring().members().len() / 2 + 1;
    let mut clients = None;
    let mut stop = std::pin::pin!(stop);
    let mut waiting = Some((listener, ready));
    let mut waited_with = usize::MAX;
    loop {
        let News { links_up, refused } = *heard.borrow_and_update();
        if refused {
            return Ok(Ended::Refused);
        }
        // A process that a majority accepted is not one that its peers would refuse; and one that has
        // not compared its clock would have to refuse writes.
        let shards = 0..server.node.shards();
        let measured =
            || shards.clone().all(|shard| server.node.inspect(shard, Shard::has_measured_clocks));
        if links_up + 1 >= majority
            && measured()
            && let Some((listener, ready)) = waiting.take()
        {
            clients = Some(tokio::spawn(listen(server.clone(), listener)));
            info!("{me} serves clients at {}", server.client_address);
            ready(server.client_address, me);
        } else if waiting.is_some() && links_up != waited_with {
            waited_with = links_up;
            info!("waiting for peers: {} of {majority} are there", links_up + 1);
        }
        tokio::select! {
            biased;
            () = &mut stop => break,
            heard = heard.changed() => ensure!(heard.is_ok(), "the server is gone"),
            () = sleep(LOOK_EVERY), if waiting.is_some() => {}
        }
    }
    // Nobody new is taken while those who are there are waited for.
    drop(waiting);
    if let Some(clients) = clients {
        clients.abort();
        let _ = clients.await;
    }
    drain(server).await;
    Ok(Ended::Drained)
}

/// Lets requests under way finish, as long as one may take at most.
async fn drain(server: &Server) {
    let sessions = server.node.ports().sessions();
    info!("ending: {} connections", sessions.counts().0);
    sessions.drain();
    let patience = 2 * server.settings.node.request_timeout.duration() + Duration::from_millis(500);
    let gone = async {
        while sessions.counts().0 > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(patience, gone).await.is_err() {
        warn!("{} connections are cut", sessions.counts().0);
    }
}

/// Takes client connections, for ever.
async fn listen(server: Arc<Server>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => take(&server, stream),
            Err(why) => {
                warn!("a client connection cannot be taken: {why}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn take(server: &Arc<Server>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let most = server.settings.most_clients;
    if server.node.ports().sessions().counts().0 >= most {
        server.rejected.fetch_add(1, Ordering::Relaxed);
        let mut out = Vec::new();
        reply::error(&mut out, &format!("ERR max number of clients reached, the limit is {most}"));
        // What does not fit into the socket's buffer is not waited for.
        let _ = stream.try_write(&out);
        return;
    }
    let session = Session::new(server.clone());
    tokio::spawn(async move {
        // A client that goes away without a word is no news.
        let _ = session.serve(stream).await;
    });
}

/// A number that nobody can guess: the standard library seeds its hash maps so.
fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// A seed for the stores of a process, so that nobody can choose keys that collide.
pub fn secret_seed() -> u64 {
    random()
}
