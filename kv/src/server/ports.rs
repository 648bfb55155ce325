//! What a node of a server is plugged into: the machine's clocks, the links to peers, the sessions.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::timers::Timers;
use crate::{
    clock::Timestamp,
    env::{Entry, Note, Reply, Timer},
    locks::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    message::Message,
    node::{Machine, Outbox, Ports, Position},
    queue::Queue,
    types::{Micros, NodeId, RequestId},
};

/// Messages that wait for a peer at most; further ones are dropped, and the protocol copes.
const PEER_QUEUE: usize = 16_384;

/// The number of a session, and of a request within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// The session.
    pub session: u32,
    /// Counts the session's requests.
    pub sequence: u32,
}

impl SessionRequest {
    /// As the core knows it.
    pub fn id(self) -> RequestId {
        RequestId(u64::from(self.session) << 32 | u64::from(self.sequence))
    }

    /// What the core calls so.
    pub fn of(id: RequestId) -> Self {
        let low = u32::try_from(id.0 & u64::from(u32::MAX)).expect("32 bits");
        Self { session: u32::try_from(id.0 >> 32).expect("32 bits"), sequence: low }
    }
}

/// Answers on their way to a session: sequence and reply.
pub type Answers = Queue<(u32, Reply)>;

/// The sessions that are open.
#[derive(Debug, Default)]
pub struct Sessions {
    open: Mutex<HashMap<u32, Arc<Answers>>>,
    opened: AtomicU64,
}

impl Sessions {
    /// Opens a session. Numbers are not used again, so that no late answer goes astray.
    pub fn open(&self, bound: usize) -> (u32, Arc<Answers>) {
        let opened = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        let session = u32::try_from(opened & u64::from(u32::MAX)).expect("32 bits");
        let answers = Arc::new(Queue::new(bound));
        self.open.lock().insert(session, answers.clone());
        (session, answers)
    }

    /// Closes a session.
    pub fn close(&self, session: u32) {
        self.open.lock().remove(&session);
    }

    /// Asks all sessions to end.
    pub fn drain(&self) {
        let open: Vec<Arc<Answers>> = self.open.lock().values().cloned().collect();
        open.iter().for_each(|answers| answers.close());
    }

    /// How many are open, and how many were ever opened.
    pub fn counts(&self) -> (usize, u64) {
        (self.open.lock().len(), self.opened.load(Ordering::Relaxed))
    }

    fn answer(&self, mut replies: Vec<(RequestId, Reply)>) {
        replies.sort_by_key(|(id, _)| SessionRequest::of(*id).session);
        let mut replies = replies.into_iter().peekable();
        while let Some((id, reply)) = replies.next() {
            let SessionRequest { session, sequence } = SessionRequest::of(id);
            let mut batch = vec![(sequence, reply)];
            while let Some((id, reply)) =
                replies.next_if(|(id, _)| SessionRequest::of(*id).session == session)
            {
                batch.push((SessionRequest::of(id).sequence, reply));
            }
            let answers = self.open.lock().get(&session).cloned();
            if let Some(answers) = answers {
                answers.push_all(batch);
            }
        }
    }
}

/// The ports of a node.
pub struct ServerPorts {
    started: Instant,
    timers: Arc<Timers>,
    peers: BTreeMap<NodeId, Arc<Queue<Message>>>,
    /// The sessions.
    pub sessions: Arc<Sessions>,
    entries: AtomicU64,
    notes: [AtomicU64; Note::EVERY.len()],
}

impl ServerPorts {
    /// Ports with links to these peers.
    pub fn new(peers: impl Iterator<Item = NodeId>, timers: Arc<Timers>) -> Self {
        Self {
            started: Instant::now(),
            timers,
            peers: peers.map(|peer| (peer, Arc::new(Queue::new(PEER_QUEUE)))).collect(),
            sessions: Arc::default(),
            entries: AtomicU64::new(0),
            notes: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// The queues to the peers.
    pub fn peers(&self) -> &BTreeMap<NodeId, Arc<Queue<Message>>> {
        &self.peers
    }

    /// How often each branch was taken.
    pub fn notes(&self) -> impl Iterator<Item = (Note, u64)> + '_ {
        Note::EVERY.iter().zip(&self.notes).map(|(n, count)| (*n, count.load(Ordering::Relaxed)))
    }
}

impl Ports for ServerPorts {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX >> 10))
    }

    fn uptime(&self) -> Micros {
        Micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn set_timer(&self, machine: Machine, timer: Timer, after: Micros) {
        self.timers.set(machine, timer, after);
    }

    /// There is no journal in production yet: what a process acknowledged is in its memory, and a
    /// restarted process is refused by its peers.
    fn append(&self, _entry: Entry) -> Position {
        Position(self.entries.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn durable(&self) -> Position {
        Position(u64::MAX)
    }

    fn note(&self, note: Note) {
        let index = Note::EVERY.iter().position(|n| *n == note).expect("all notes are listed");
        self.notes[index].fetch_add(1, Ordering::Relaxed);
    }

    fn send(&self, outbox: &mut Outbox) {
        let mut messages = std::mem::take(&mut outbox.messages);
        messages.sort_by_key(|(to, _)| *to);
        let mut messages = messages.into_iter().peekable();
        while let Some((to, _)) = messages.peek() {
            let to = *to;
            let batch = std::iter::from_fn(|| messages.next_if(|(peer, _)| *peer == to));
            match self.peers.get(&to) {
                Some(queue) => queue.push_all(batch.map(|(_, message)| message)),
                // A peer that is no member: a member of an old ring. Lost, like any message.
                None => batch.for_each(drop),
            }
        }
        let replies = std::mem::take(&mut outbox.replies);
        if !replies.is_empty() {
            self.sessions.answer(replies);
        }
    }
}
