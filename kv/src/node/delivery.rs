//! Where what leaves a node goes: messages to the queues of its peers, answers to the queues of its
//! sessions. Pure, beside the server that empties the queues, so that every interleaving of it can be
//! explored.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    core::{
        env::Reply,
        message::Message,
        ring::Ring,
        types::{Epoch, NodeId, RequestId},
    },
    node::{
        Outbox,
        locks::{
            Mutex,
            atomic::{AtomicU64, Ordering},
        },
        queue::Queue,
    },
};

/// A node that messages go to.
#[derive(Debug)]
pub struct Peer {
    /// Where it is reached.
    pub address: String,
    /// What waits for it.
    pub queue: Queue<Message>,
}

/// The peers by their ids.
pub type Peers = BTreeMap<NodeId, Arc<Peer>>;

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

/// Peers at most that are no members: members of older and of newer rings.
const MOST_STRANGERS: usize = 256;

/// Who the peers are: all other members of the ring, and those that are no members but speak to us.
#[derive(Debug)]
pub struct Directory {
    me: NodeId,
    /// Of each peer's queue.
    bound: usize,
    inner: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    peers: Arc<Peers>,
    /// Of the newest ring, and its epoch: two threads may come here in the other order.
    members: BTreeSet<NodeId>,
    epoch: Epoch,
    /// Those that nobody sends to yet.
    new: Vec<(NodeId, Arc<Peer>)>,
    /// Of the one who takes them.
    waker: Option<Waker>,
}

impl Entries {
    fn add(&mut self, id: NodeId, address: &str, bound: usize) {
        let peer = Arc::new(Peer { address: address.to_string(), queue: Queue::new(bound) });
        Arc::make_mut(&mut self.peers).insert(id, peer.clone());
        self.new.push((id, peer));
    }
}

impl Directory {
    /// Nobody yet.
    pub fn new(me: NodeId, bound: usize) -> Self {
        Self { me, bound, inner: Mutex::default() }
    }

    /// All peers as they are now.
    pub fn peers(&self) -> Arc<Peers> {
        self.inner.lock().peers.clone()
    }

    /// The members of this ring are peers from now on. Those of the ring before stay until
    /// [`Directory::forget`]: they may still have to be told.
    pub fn adopt(&self, ring: &Ring) {
        let waker = {
            let mut inner = self.inner.lock();
            if ring.epoch() < inner.epoch {
                return;
            }
            inner.epoch = ring.epoch();
            inner.members = ring.members().keys().copied().filter(|id| *id != self.me).collect();
            for (id, member) in ring.members().iter().filter(|(id, _)| **id != self.me) {
                let is_known =
                    inner.peers.get(id).is_some_and(|peer| peer.address == member.address);
                if !is_known {
                    inner.add(*id, &member.address, self.bound);
                }
            }
            inner.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Somebody speaks to us, and is to be answered. False: there are too many who are no members.
    pub fn meet(&self, id: NodeId, address: &str) -> bool {
        let waker = {
            let mut inner = self.inner.lock();
            if inner.peers.contains_key(&id) {
                return true;
            }
            if inner.peers.len() >= inner.members.len() + MOST_STRANGERS {
                return false;
            }
            inner.add(id, address, self.bound);
            inner.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
        true
    }

    /// A peer cannot be reached: whether nobody needs to try any more, because it is no member or has
    /// another address now. Its queue is dropped then.
    pub fn forget(&self, id: NodeId, peer: &Arc<Peer>) -> bool {
        let mut inner = self.inner.lock();
        let is_current = inner.peers.get(&id).is_some_and(|held| Arc::ptr_eq(held, peer));
        if is_current && inner.members.contains(&id) {
            return false;
        }
        if is_current {
            Arc::make_mut(&mut inner.peers).remove(&id);
        }
        true
    }

    /// Waits for peers that nobody sends to yet: each is given out once. For one taker.
    pub fn poll_new(&self, cx: &mut Context<'_>) -> Poll<Vec<(NodeId, Arc<Peer>)>> {
        let mut inner = self.inner.lock();
        if inner.new.is_empty() {
            inner.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(mem::take(&mut inner.new))
    }
}

/// The peers and the sessions of a node.
#[derive(Debug)]
pub struct Delivery {
    /// The peers.
    pub directory: Directory,
    /// The sessions.
    pub sessions: Sessions,
}

impl Delivery {
    /// Without peers and sessions. Each peer's queue will have this bound.
    pub fn new(me: NodeId, bound: usize) -> Self {
        Self { directory: Directory::new(me, bound), sessions: Sessions::default() }
    }

    /// Takes all messages and replies out of an outbox, and wakes whoever waits for them.
    pub fn send(&self, outbox: &mut Outbox) {
        let messages = mem::take(&mut outbox.messages);
        if !messages.is_empty() {
            self.send_messages(messages);
        }
        let replies = mem::take(&mut outbox.replies);
        if !replies.is_empty() {
            self.sessions.answer(replies);
        }
    }

    fn send_messages(&self, mut messages: Vec<(NodeId, Message)>) {
        let peers = self.directory.peers();
        messages.sort_by_key(|(to, _)| *to);
        let mut messages = messages.into_iter().peekable();
        while let Some((to, _)) = messages.peek() {
            let to = *to;
            let batch = std::iter::from_fn(|| messages.next_if(|(peer, _)| *peer == to));
            match peers.get(&to) {
                Some(peer) => peer.queue.push_all(batch.map(|(_, message)| message)),
                // A peer that is no member and does not speak to us. Lost, like any message.
                None => batch.for_each(drop),
            }
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

    /// Asks those that are open now to end: how many they are.
    pub fn end_all(&self) -> usize {
        let answers: Vec<Arc<Answers>> = self.open.lock().answers.values().cloned().collect();
        answers.iter().for_each(|answers| answers.close());
        answers.len()
    }

    /// Those that open from now on are not asked to end.
    pub fn resume(&self) {
        self.open.lock().draining = false;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ring::RING_SIZE;

    fn ring(count: usize) -> Ring {
        let addresses: Vec<String> = (1..=count).map(|n| format!("h{n}:1")).collect();
        Ring::form(&addresses, 1, RING_SIZE).unwrap()
    }

    fn new(directory: &Directory) -> Vec<(NodeId, Arc<Peer>)> {
        match directory.poll_new(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(new) => new,
            Poll::Pending => Vec::new(),
        }
    }

    fn ids(new: &[(NodeId, Arc<Peer>)]) -> Vec<u32> {
        new.iter().map(|(id, _)| id.0).collect()
    }

    #[test]
    fn each_member_is_given_out_once_and_is_forgotten_only_once_it_is_none() {
        let directory = Directory::new(NodeId(1), 4);
        directory.adopt(&ring(3));
        let peers = new(&directory);
        assert_eq!(ids(&peers), [2, 3]);
        let (id, peer) = &peers[1];
        assert!(!directory.forget(*id, peer), "it is a member");
        directory.adopt(&ring(2));
        assert_eq!(directory.peers().len(), 2, "it may still have to be told");
        assert!(directory.forget(*id, peer));
        assert_eq!(directory.peers().len(), 1);
        directory.adopt(&ring(3));
        assert_eq!(ids(&new(&directory)), [3], "who is a member again is sent to again");
        assert!(directory.forget(*id, peer), "the old queue is nobody's");
        assert_eq!(directory.peers().len(), 2);
    }

    #[test]
    fn strangers_are_answered_at_their_address_and_are_not_too_many() {
        let directory = Directory::new(NodeId(1), 4);
        directory.adopt(&ring(2));
        assert!(directory.meet(NodeId(2), "elsewhere:1"));
        assert_eq!(directory.peers()[&NodeId(2)].address, "h2:1");
        for id in 3..3 + 256 {
            assert!(directory.meet(NodeId(id), "s:1"));
        }
        assert!(!directory.meet(NodeId(999), "s:1"));
        new(&directory);
        directory.adopt(&ring(3));
        assert_eq!(ids(&new(&directory)), [3], "the ring knows better where it is");
        assert_eq!(directory.peers()[&NodeId(3)].address, "h3:1");
    }
}
