//! The door for clients, one for the life of a process. It takes connections, as many as there may be, and keeps
//! those that come while no node serves: before this process has a place in a ring, while a cluster forms, and
//! when this process has left its ring and joins anew. Such a connection is served on as soon as a node serves.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore, watch},
};
use tracing::warn;

use super::{
    Server, Settings, accept::Acceptor, info::Rate, memory::ClientMemory, outcomes::Totals,
    pauses::Taking, ports, session::Session,
};
use crate::{
    locks::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    pulse::Pulse,
    resp::{
        command::{Command, RingCommand},
        reply,
    },
};

/// What is refused while no node serves. Nothing was done.
pub const LOADING: &str = "LOADING this node does not serve yet: it waits for its peers, or for a place in their ring; \
                           nothing was done; ask another node, or later";
/// What a client is told that is one too many: as Redis says it, for clients know the words.
pub const TOO_MANY: &str = "ERR max number of clients reached";
/// How long one who was let in for an operator's commands alone may take for each.
const OPERATOR_IDLE: Duration = Duration::from_secs(2);

/// Whether a connection is within the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Client,
    /// It is one too many, and may do what an operator does to find out why.
    Operator,
}

/// What a command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Records: a node has to serve.
    Data,
    /// A change of the ring: a node has to serve, and operators may always ask for it.
    Change,
    /// What an operator looks at, whatever the state of the process.
    Look,
    /// The connection itself.
    Connection,
}

/// What a command asks for.
pub fn concern(command: &Command<'_>) -> Concern {
    match command {
        Command::Get(_)
        | Command::Set(..)
        | Command::Del(_)
        | Command::Exists(_)
        | Command::Mget(_)
        | Command::Mset(_)
        | Command::Strlen(_)
        | Command::Dbsize => Concern::Data,
        Command::Ring(RingCommand::Show) | Command::Info(_) | Command::Ping(_) | Command::Quit => {
            Concern::Look
        }
        Command::Ring(
            RingCommand::Leave(_)
            | RingCommand::Evict { .. }
            | RingCommand::Cancel
            | RingCommand::Join(_),
        ) => Concern::Change,
        Command::Echo(_)
        | Command::Hello(..)
        | Command::Commands(_)
        | Command::ClientSetName(_)
        | Command::ClientGetName
        | Command::ClientId
        | Command::ClientSetInfo
        | Command::Select
        | Command::ConfigGet(_)
        | Command::Transaction(_)
        | Command::Reset
        | Command::Consistency { .. } => Concern::Connection,
    }
}

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
    started: Instant,
    /// The node of this process, if it has one. It may not serve yet.
    node: Mutex<Option<Arc<Server>>>,
    open: AtomicUsize,
    opened: AtomicU64,
    rejected: AtomicU64,
    /// Places beyond the limit, for operators.
    operators: Arc<Semaphore>,
    is_closed: watch::Sender<bool>,
    /// Notices when the process stood still, also while it has no node.
    pulse: Pulse,
    pauses: AtomicU64,
    /// Told of each pause.
    paused: Notify,
}

/// One who came in. Counted until it goes.
struct Visitor(Arc<Door>);

impl Drop for Visitor {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
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

    /// Takes client connections until the door is closed.
    pub async fn listen(self: Arc<Self>, listener: TcpListener) {
        let mut is_closed = self.is_closed.subscribe();
        let listener = Arc::new(listener);
        let mut taking = Taking::new(listener.clone());
        let mut acceptor = Acceptor::new(listener, "client", TOO_MANY);
        loop {
            tokio::select! {
                biased;
                _ = is_closed.wait_for(|is_closed| *is_closed) => return,
                () = self.paused.notified() => taking.close_old(&self),
                (stream, _) = acceptor.next() => match taking.pauses_before(&self) {
                    Some(pauses) => self.take(stream, pauses),
                    // Without an answer: what it sent may be old, and its client gone.
                    None => drop(stream),
                }
            }
        }
    }

    fn take(self: &Arc<Self>, stream: TcpStream, pauses: u64) {
        let _ = stream.set_nodelay(true);
        let visitor = Visitor(self.clone());
        let others = self.open.fetch_add(1, Ordering::Relaxed);
        if others < self.settings.places.clients {
            tokio::spawn(async move {
                let session = Session::new(visitor.0.clone(), Admission::Client);
                let session = session.taken_after(pauses);
                // A client that goes away without a word is no news.
                let _ = visitor.0.attend(session, stream).await;
            });
            return;
        }
        self.rejected.fetch_add(1, Ordering::Relaxed);
        warn!(
            cause = "too many clients",
            "a client is refused: there are {others}, and {} may be (--max-clients)",
            self.settings.places.clients
        );
        let Ok(place) = self.operators.clone().try_acquire_owned() else {
            return refuse(&stream, TOO_MANY);
        };
        tokio::spawn(async move {
            let _place = place;
            let session = Session::new(visitor.0.clone(), Admission::Operator);
            let session = session.taken_after(pauses);
            let _ = visitor.0.attend(session, stream).await;
        });
    }

    /// Serves a connection: until a node does, while this process goes on; and then, while that node does.
    async fn attend(&self, mut session: Session, mut stream: TcpStream) -> std::io::Result<()> {
        let mut is_closed = self.is_closed.subscribe();
        tokio::select! {
            biased;
            _ = is_closed.wait_for(|is_closed| *is_closed) => return Ok(()),
            goes_on = session.wait(&mut stream) => if !goes_on? { return Ok(()) },
        }
        let Some(server) = session.server() else { return Ok(()) };
        let mut is_over = server.is_over.subscribe();
        tokio::select! {
            biased;
            _ = is_over.wait_for(|is_over| *is_over) => Ok(()),
            ended = session.serve(&mut stream) => ended,
        }
    }
}

impl Admission {
    /// How long a connection may be silent.
    pub fn patience(self) -> Option<Duration> {
        match self {
            Admission::Client => None,
            Admission::Operator => Some(OPERATOR_IDLE),
        }
    }
}

/// Tells a client why it is not served.
pub fn refuse(stream: &TcpStream, why: &str) {
    let mut out = Vec::new();
    reply::error(&mut out, why);
    // A new socket takes something at once; what does not fit into its buffer is not waited for.
    let _ = stream.try_write(&out);
    // To close while input waits would reset the connection, and the reason could be lost.
    let mut rest = [0; 4096];
    while matches!(stream.try_read(&mut rest), Ok(size) if size > 0) {}
}
