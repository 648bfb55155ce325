//! Where what leaves a node goes: messages to the queues of its peers, answers to the queues of its
//! sessions. Pure, beside the server that empties the queues, so that every interleaving of it can be
//! explored.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    env::Reply,
    locks::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    message::Message,
    node::Outbox,
    queue::Queue,
    types::{NodeId, RequestId},
};

/// Messages that wait for each peer.
pub type Peers = BTreeMap<NodeId, Arc<Queue<Message>>>;

/// Answers on their way to a session: sequence and reply.
pub type Answers = Queue<(u32, Reply)>;

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

/// The peers and the sessions of a node.
#[derive(Debug)]
pub struct Delivery {
    /// The peers.
    pub peers: Peers,
    /// The sessions.
    pub sessions: Sessions,
}

impl Delivery {
    /// With an empty queue of this bound for each peer, and no session.
    pub fn new(peers: impl Iterator<Item = NodeId>, bound: usize) -> Self {
        let peers = peers.map(|peer| (peer, Arc::new(Queue::new(bound)))).collect();
        Self { peers, sessions: Sessions::default() }
    }

    /// Takes all messages and replies out of an outbox, and wakes whoever waits for them.
    pub fn send(&self, outbox: &mut Outbox) {
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

/// The sessions that are open.
#[derive(Debug, Default)]
pub struct Sessions {
    open: Mutex<Open>,
    opened: AtomicU64,
}

#[derive(Debug, Default)]
struct Open {
    answers: BTreeMap<u32, Arc<Answers>>,
    /// All are asked to end, those that open from now on too.
    draining: bool,
}

impl Sessions {
    /// Opens a session. Numbers are not used again, so that no late answer goes astray.
    pub fn open(&self, bound: usize) -> (u32, Arc<Answers>) {
        let opened = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        let session = u32::try_from(opened & u64::from(u32::MAX)).expect("32 bits");
        let answers = Arc::new(Queue::new(bound));
        let mut open = self.open.lock();
        open.answers.insert(session, answers.clone());
        let draining = open.draining;
        drop(open);
        if draining {
            answers.close();
        }
        (session, answers)
    }

    /// Closes a session.
    pub fn close(&self, session: u32) {
        self.open.lock().answers.remove(&session);
    }

    /// Asks all sessions to end.
    pub fn drain(&self) {
        let answers: Vec<Arc<Answers>> = {
            let mut open = self.open.lock();
            open.draining = true;
            open.answers.values().cloned().collect()
        };
        answers.iter().for_each(|answers| answers.close());
    }

    /// How many are open, and how many were ever opened.
    pub fn counts(&self) -> (usize, u64) {
        (self.open.lock().answers.len(), self.opened.load(Ordering::Relaxed))
    }

    /// Hands answers to their sessions. Those of a session that is closed are dropped.
    pub fn answer(&self, mut replies: Vec<(RequestId, Reply)>) {
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
            let answers = self.open.lock().answers.get(&session).cloned();
            if let Some(answers) = answers {
                answers.push_all(batch);
            }
        }
    }
}
