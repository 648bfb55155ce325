//! The server: a node with sockets. tokio executes; what waits for what is decided by our own queues.
//!
//! A process may live several times: one that its peers know as another process, or that finds itself
//! evicted, joins anew as another member, with the same ports.

mod accept;
pub mod admin;
mod clients;
mod clocks;
mod commands;
mod door;
mod info;
mod join;
mod life;
mod links;
mod memory;
mod outcomes;
mod pauses;
mod peers;
mod pipeline;
pub mod places;
mod ports;
mod process;
mod recall;
mod rings;
mod session;
mod timers;
mod transactions;
mod waiting;
mod waves;

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, anyhow};
use tokio::{net::TcpListener, sync::watch};
use tracing::{info, warn};

use self::{
    door::Door, life::Over, links::Links, places::Places, ports::ServerPorts, timers::Timers,
    waiting::Waiting,
};
use crate::{
    config::NodeConfig,
    locks::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    log::Lost,
    node::Node,
    quorum::Level,
    recover::Recovered,
    ring::{Change, RING_SIZE, Ring},
    types::{Epoch, NodeId},
    wire::{Hello, Join},
};

/// The epoch of the ring that a cluster is formed with.
const FIRST_RING: Epoch = Epoch(1);

/// What a process says of its ring while it has none.
pub const NO_PLACE_YET: &str = "this process is not a member of a ring yet; ask a member, or later";

/// A node as a server runs it.
type ServerNode = Node<ServerPorts>;

/// What a server is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens for clients.
    pub client: String,
    /// Where it listens for peers.
    pub peer: String,
    /// Where clients are told to connect. Port 0 stands for the one that was free.
    pub advertise_client: String,
    /// Where peers connect: this node's address in the ring.
    pub advertise_peer: String,
    /// How it comes to be a member.
    pub start: Start,
    /// How many connections there may be at a time.
    pub places: Places,
    /// Bytes that all client connections together may hold.
    pub most_client_memory: usize,
    /// Lines of the log that were lost.
    pub lost_lines: Lost,
    /// The level of reads where a connection does not choose.
    pub default_read: Level,
    /// The level of writes where a connection does not choose.
    pub default_write: Level,
    /// The node's settings.
    pub node: NodeConfig,
    /// For tests and trials: how far the wall clock that the node goes by is ahead of the machine's.
    pub clock_offset_ms: i64,
}

impl Settings {
    /// What a process that wants a place says of itself: each time it is a new one.
    fn join(&self, client: String) -> Join {
        Join { address: self.advertise_peer.clone(), client, instance: random() }
    }

    /// Where clients are told to connect, once the port is known.
    fn told_to_clients(&self, listens: SocketAddr) -> String {
        match self.advertise_client.strip_suffix(":0") {
            Some(host) => format!("{host}:{}", listens.port()),
            None => self.advertise_client.clone(),
        }
    }
}

/// How a server comes to be a member.
#[derive(Clone, Debug)]
pub enum Start {
    /// A new cluster is formed.
    Form {
        /// The members of the first ring, the same on each node.
        members: Vec<String>,
        /// R.
        replication: usize,
    },
    /// It joins one that runs.
    Join {
        /// The peer addresses of some of its members.
        members: Vec<String>,
    },
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Drained,
    /// It left the ring: the others have all that it held.
    Left,
    /// Its join was given up by the members.
    Cancelled,
}

/// A server that runs: one life of the process.
pub struct Server {
    node: Arc<ServerNode>,
    settings: Settings,
    /// The door for clients, which outlives this life.
    door: Arc<Door>,
    serves: AtomicBool,
    /// Where clients are told to connect.
    client: String,
    links: Links,
    started: Instant,
    /// The processes that ask here for a place.
    waiting: Waiting,
    /// Why it did not join another cluster when it was asked to.
    join_error: Mutex<Option<String>>,
    /// Says so when a link comes up, when peers refuse this process, and when it is to join others.
    news: watch::Sender<News>,
    /// All tasks of this life end.
    is_over: watch::Sender<bool>,
}

#[derive(Clone, Debug, Default)]
struct News {
    refused: bool,
    /// A member of the cluster that it is to join.
    join: Option<String>,
}

/// Who a process is in a life.
#[derive(Clone, Debug)]
struct Identity {
    ring: Arc<Ring>,
    me: NodeId,
    instance: u64,
}

impl Server {
    /// A server that has no socket yet, its timers, and what there will be to hear of its links.
    fn new(
        door: Arc<Door>,
        Identity { ring, me, instance }: Identity,
    ) -> (Arc<Self>, Arc<Timers>, watch::Receiver<News>) {
        let timers = Arc::new(Timers::default());
        let settings = door.settings.clone();
        let ports = ServerPorts::new(me, ring.clone(), timers.clone(), settings.clock_offset_ms);
        let client = settings.told_to_clients(door.client_address);
        let address = settings.advertise_peer.clone();
        let hello = Hello {
            cluster: ring.cluster(),
            from: me,
            to: me,
            instance,
            address,
            client: client.clone(),
        };
        let links = Links::new(hello);
        let node = Node::start(me, &settings.node, ring, Recovered::default(), ports);
        let (news, heard) = watch::channel(News::default());
        let server = Self {
            node: Arc::new(node),
            settings,
            door,
            serves: AtomicBool::new(false),
            client,
            links,
            started: Instant::now(),
            waiting: Waiting::default(),
            join_error: Mutex::default(),
            news,
            is_over: watch::Sender::new(false),
        };
        (Arc::new(server), timers, heard)
    }

    /// Whether clients are served.
    fn serves(&self) -> bool {
        self.serves.load(Ordering::Acquire)
    }

    fn set_serves(&self, serves: bool) {
        self.serves.store(serves, Ordering::Release);
    }

    /// Runs a task that ends with this life.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut is_over = self.is_over.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = is_over.wait_for(|is_over| *is_over) => {}
                () = task => {}
            }
        });
    }

    fn link_changed(&self) {
        self.news.send_modify(|_| {});
    }

    fn refused(&self) {
        self.news.send_modify(|news| news.refused = true);
    }

    /// Whether this cluster may have grown without this process, which would not know: its first ring has
    /// nobody else whom it could ask. Who started again so is no member any more; its peers, if there are any,
    /// know its address, and tell it so when they come back.
    fn may_have_grown(&self) -> bool {
        let ring = self.node.ring();
        let is_first = ring.epoch() == FIRST_RING && ring.members().len() == 1;
        let somebody_came = || !self.node.ports().directory().peers().is_empty();
        is_first && (self.started.elapsed() < peers::COME_BACK || somebody_came())
    }

    /// Asks for a change, unless this node is about to go to another cluster: who joined here would stay
    /// behind in a ring that is dead.
    fn change_and_stay(&self, change: &Change) -> bool {
        // Held over the change: that it is to go is said before it, or finds what the change did.
        let news = self.news.borrow();
        let stays = news.join.is_none();
        if stays {
            self.node.change(change.clone());
        }
        stays
    }

    /// Leaves the ring in which it is alone, and joins another cluster.
    fn join_others(&self, member: String) {
        *self.join_error.lock() = None;
        self.news.send_modify(|news| news.join = Some(member));
    }
}

/// Runs a server until `stop` is done, or until it left. `ready` is called once clients can connect, in
/// each life.
pub async fn serve(
    settings: Settings,
    stop: impl Future<Output = ()>,
    mut ready: impl FnMut(SocketAddr, NodeId),
) -> Result<Ended> {
    let formed = match &settings.start {
        Start::Form { members, replication } => {
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

/// Lives as often as it takes.
async fn live(
    door: &Arc<Door>,
    settings: Settings,
    peer_listener: Arc<TcpListener>,
    formed: Option<Identity>,
    stop: impl Future<Output = ()>,
    ready: &mut impl FnMut(SocketAddr, NodeId),
) -> Result<Ended> {
    warn!("records are in memory only: what this process holds is lost when it ends");

    let (Start::Form { members, .. } | Start::Join { members }) = settings.start.clone();
    let (mut known, mut next) = (members, formed);
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
        let (server, timers, heard) = Server::new(door.clone(), identity);
        server.spawn(timers.run(server.node.clone()));
        server.spawn(clocks::watch(server.clone()));
        server.spawn(peers::listen(server.clone(), peer_listener.clone()));
        server.spawn(peers::manage(server.clone()));
        server.spawn(clients::announce(server.clone()));
        let over = life::attend(&server, heard, stop.as_mut(), ready).await?;
        door.set_node(None);
        server.is_over.send_replace(true);
        known = whom_to_ask(&server, known);
        next = match over {
            Over::Ended(ended) => return Ok(ended),
            Over::JoinsAnew => None,
            Over::Joined(identity) => Some(identity),
        };
    }
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
    Ok(Identity { ring: Arc::new(ring), me, instance: random() })
}

/// Joins the cluster of these members as a new one.
async fn join(settings: &Settings, listens: SocketAddr, members: &[String]) -> Result<Identity> {
    let join = settings.join(settings.told_to_clients(listens));
    info!("asking {} for a place in their ring", members.join(", "));
    let ring = join::ask_until_told(&join, members).await?;
    identity(ring, join.instance)
}

/// Who a process is in a ring that it joined.
fn identity(ring: Arc<Ring>, instance: u64) -> Result<Identity> {
    let me = ring.members().iter().find(|(_, member)| member.instance == instance);
    let (me, _) = me.ok_or_else(|| anyhow!("the ring that came has no place for this process"))?;
    info!("a member of the cluster {} as {me}", ring.cluster());
    Ok(Identity { me: *me, ring, instance })
}

/// A number that nobody can guess: the standard library seeds its hash maps so.
fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    // Zero means: no process.
    RandomState::new().hash_one(std::process::id()).max(1)
}

/// A seed for the stores of a process, so that nobody can choose keys that collide.
pub fn secret_seed() -> u64 {
    random()
}
