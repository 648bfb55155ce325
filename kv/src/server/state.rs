//! The state of a server: the door, which lives as long as the process, and what there is in each of its lives.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::sync::{Notify, Semaphore, watch};

use super::{
    home::Kept,
    identity::Identity,
    links::Links,
    memory::ClientMemory,
    outcomes::Totals,
    ports::{self, ServerNode, ServerPorts},
    rate::Rate,
    settings::Settings,
    timers::Timers,
    waiting::Waiting,
    writer::Writer,
};
use crate::{
    core::{ring::Change, types::Epoch},
    node::{
        Node,
        commit::Commit,
        locks::{
            Mutex,
            atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        },
        pulse::Pulse,
        recover::Recovered,
    },
    wire::Hello,
};

/// The epoch of the ring that a cluster is formed with.
const FIRST_RING: Epoch = Epoch(1);

/// Within this time whoever looks for a process that has just started connects to it, and has our answer.
pub const COME_BACK: Duration = Duration::from_millis(1_500);
/// The door.
pub struct Door {
    /// What the server was told.
    pub settings: Settings,
    /// Where clients connect.
    pub client_address: SocketAddr,
    /// How the requests of all connections ended.
    pub outcomes: Totals,
    /// How many commands a second they bring.
    pub rate: Rate,
    /// What all connections hold.
    pub memory: Arc<ClientMemory>,
    pub(super) started: Instant,
    /// The node of this process, if it has one. It may not serve yet.
    pub(super) node: Mutex<Option<Arc<Server>>>,
    pub(super) open: AtomicUsize,
    pub(super) opened: AtomicU64,
    pub(super) rejected: AtomicU64,
    /// Places beyond the limit, for operators.
    pub(super) operators: Arc<Semaphore>,
    pub(super) is_closed: watch::Sender<bool>,
    /// Notices when the process stood still, also while it has no node.
    pub(super) pulse: Pulse,
    pub(super) pauses: AtomicU64,
    /// Told of each pause.
    pub(super) paused: Notify,
}

impl Door {
    /// A door that nobody came to yet.
    pub fn new(settings: Settings, client_address: SocketAddr) -> Self {
        let operators = Arc::new(Semaphore::new(settings.places.operators));
        let started = Instant::now();
        Self {
            pulse: Pulse::new(settings.node.pause_after, ports::clocks(started)),
            pauses: AtomicU64::new(0),
            paused: Notify::new(),
            memory: ClientMemory::new(settings.most_client_memory),
            settings,
            client_address,
            outcomes: Totals::default(),
            rate: Rate::default(),
            started,
            node: Mutex::default(),
            open: AtomicUsize::new(0),
            opened: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            operators,
            is_closed: watch::Sender::new(false),
        }
    }

    /// The node of this process, if it has one. It may not serve yet.
    pub fn node(&self) -> Option<Arc<Server>> {
        self.node.lock().clone()
    }

    /// The node that serves, if one does.
    pub fn serving(&self) -> Option<Arc<Server>> {
        self.node().filter(|server| server.serves())
    }

    /// This process has a node now, or has none any more.
    pub fn set_node(&self, server: Option<Arc<Server>>) {
        *self.node.lock() = server;
    }

    /// Since when this process runs.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Connections that are open, those that ever were, and those that were refused because there were too many.
    pub fn counts(&self) -> (usize, u64, u64) {
        let [opened, rejected] = [&self.opened, &self.rejected].map(|c| c.load(Ordering::Relaxed));
        (self.open.load(Ordering::Relaxed), opened, rejected)
    }

    /// How many pauses of this process were noticed.
    pub fn pauses(&self) -> u64 {
        self.pauses.load(Ordering::Acquire)
    }

    /// The same, after a look at the clocks.
    pub fn look(&self) -> u64 {
        self.pulse.look(
            || ports::clocks(self.started),
            |_| {
                self.pauses.fetch_add(1, Ordering::AcqRel);
                self.paused.notify_one();
            },
        );
        self.pauses()
    }

    /// A number for a connection, which no other one of this process has.
    pub fn number(&self) -> u64 {
        self.opened.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Ends all connections that no node serves, and takes none any more.
    pub fn close(&self) {
        self.set_node(None);
        self.is_closed.send_replace(true);
    }
}

/// A server that runs: one life of the process.
pub struct Server {
    pub(super) node: Arc<ServerNode>,
    /// What writes the journal, if there is one.
    writer: Mutex<Option<Writer>>,
    pub(super) settings: Settings,
    /// The door for clients, which outlives this life.
    pub(super) door: Arc<Door>,
    pub(super) serves: AtomicBool,
    /// Where clients are told to connect.
    pub(super) client: String,
    pub(super) links: Links,
    pub(super) started: Instant,
    /// The processes that ask here for a place.
    pub(super) waiting: Waiting,
    /// Why it did not join another cluster when it was asked to.
    pub(super) join_error: Mutex<Option<String>>,
    /// Says so when a link comes up, when peers refuse this process, and when it is to join others.
    pub(super) news: watch::Sender<News>,
    /// All tasks of this life end.
    pub(super) is_over: watch::Sender<bool>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct News {
    pub(super) refused: bool,
    /// A member of the cluster that it is to join.
    pub(super) join: Option<String>,
}

impl Server {
    /// A server that has no socket yet, its timers, and what there will be to hear of its links.
    pub(super) fn new(
        door: Arc<Door>,
        Identity { ring, me, instance }: Identity,
        kept: Option<Kept>,
    ) -> Result<(Arc<Self>, Arc<Timers>, watch::Receiver<News>)> {
        let timers = Arc::new(Timers::default());
        let settings = door.settings.clone();
        let commit = kept.is_some().then(|| Arc::new(Commit::default()));
        let journal = commit.clone().map(|commit| (commit, settings.durability));
        let offset = settings.clock_offset_ms;
        let ports = ServerPorts::new(me, ring.clone(), timers.clone(), offset, journal);
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
        let (recovered, rest) = match kept {
            Some(Kept { recovered, log, pending }) => (recovered, Some((log, pending))),
            None => (Recovered::default(), None),
        };
        let node = Arc::new(Node::start(me, &settings.node, ring, recovered, ports));
        let writer = match (commit, rest) {
            (Some(commit), Some((log, pending))) => {
                Some(Writer::start(log, pending, commit, &node, settings.durability)?)
            }
            (_, None) | (None, _) => None,
        };
        let (news, heard) = watch::channel(News::default());
        let server = Self {
            node,
            writer: Mutex::new(writer),
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
        Ok((Arc::new(server), timers, heard))
    }

    /// The life is over: the journal is closed when all is in it.
    pub(super) async fn close_journal(&self) {
        let Some(writer) = self.writer.lock().take() else { return };
        let _ = tokio::task::spawn_blocking(|| writer.end()).await;
    }

    /// Whether clients are served.
    pub(super) fn serves(&self) -> bool {
        self.serves.load(Ordering::Acquire)
    }

    pub(super) fn set_serves(&self, serves: bool) {
        self.serves.store(serves, Ordering::Release);
    }

    /// Runs a task that ends with this life.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut is_over = self.is_over.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = is_over.wait_for(|is_over| *is_over) => {}
                () = task => {}
            }
        });
    }

    pub(super) fn link_changed(&self) {
        self.news.send_modify(|_| {});
    }

    pub(super) fn refused(&self) {
        self.news.send_modify(|news| news.refused = true);
    }

    /// Whether this cluster may have grown without this process, which would not know: its first ring has
    /// nobody else whom it could ask. Who started again so is no member any more; its peers, if there are any,
    /// know its address, and tell it so when they come back.
    pub(super) fn may_have_grown(&self) -> bool {
        let ring = self.node.ring();
        let is_first = ring.epoch() == FIRST_RING && ring.members().len() == 1;
        let somebody_came = || !self.node.ports().directory().peers().is_empty();
        is_first && (self.started.elapsed() < COME_BACK || somebody_came())
    }

    /// Asks for a change, unless this node is about to go to another cluster: who joined here would stay
    /// behind in a ring that is dead.
    pub(super) fn change_and_stay(&self, change: &Change) -> bool {
        // Held over the change: that it is to go is said before it, or finds what the change did.
        let news = self.news.borrow();
        let stays = news.join.is_none();
        if stays {
            self.node.change(change.clone());
        }
        stays
    }

    /// Leaves the ring in which it is alone, and joins another cluster.
    pub(super) fn join_others(&self, member: String) {
        *self.join_error.lock() = None;
        self.news.send_modify(|news| news.join = Some(member));
    }
}
