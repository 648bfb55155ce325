//! What is known of the links between nodes: which of them stand, and who may have which id.

use std::collections::{BTreeMap, BTreeSet};

use super::ports::ServerNode;
use crate::{
    core::{ring::Ring, types::NodeId},
    node::locks::Mutex,
    wire::{Hello, Refusal},
};

/// What is known of the links.
pub struct Links {
    /// What this node says of itself.
    hello: Hello,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The process that was first seen behind each id.
    instances: BTreeMap<NodeId, u64>,
    /// The peers to which our connection stands.
    connected: BTreeSet<NodeId>,
    /// Where clients reach the peers, as they say.
    clients: BTreeMap<NodeId, String>,
}

impl Links {
    /// The links of a process that knows nobody yet.
    pub fn new(hello: Hello) -> Self {
        Self { hello, inner: Mutex::default() }
    }

    /// Where peers reach this node.
    pub fn address(&self) -> &str {
        &self.hello.address
    }

    /// What tells this process from others that had or will have this node's identity.
    pub fn instance(&self) -> u64 {
        self.hello.instance
    }

    /// What this node says of itself to a peer.
    pub fn hello(&self, to: NodeId) -> Hello {
        Hello { to, ..self.hello.clone() }
    }

    /// Whether our connection to a peer stands.
    pub fn is_up(&self, peer: NodeId) -> bool {
        self.inner.lock().connected.contains(&peer)
    }

    /// A word for INFO.
    pub fn state(&self, peer: NodeId) -> &'static str {
        match self.is_up(peer) {
            true => "up",
            false => "down",
        }
    }

    /// To how many other members of a ring a connection of ours stands.
    pub fn up(&self, ring: &Ring) -> usize {
        let inner = self.inner.lock();
        ring.members().keys().filter(|peer| inner.connected.contains(peer)).count()
    }

    /// Where clients reach the members, as each of them says, this node among them.
    pub fn clients(&self, ring: &Ring) -> BTreeMap<NodeId, String> {
        let mut clients = self.inner.lock().clients.clone();
        clients.insert(self.hello.from, self.hello.client.clone());
        clients.retain(|id, _| ring.members().contains_key(id));
        clients
    }

    /// Notes that the connection to a peer stands, or stands no more.
    pub fn set(&self, peer: NodeId, is_connected: bool) {
        let mut inner = self.inner.lock();
        match is_connected {
            true => inner.connected.insert(peer),
            false => inner.connected.remove(&peer),
        };
    }

    /// Whether a process may have this id: the one that the ring names, or the first one that is seen,
    /// and no other.
    pub fn admit(&self, ring: &Ring, peer: NodeId, instance: u64) -> bool {
        match ring.members().get(&peer).map_or(0, |member| member.instance) {
            0 => *self.inner.lock().instances.entry(peer).or_insert(instance) == instance,
            named => named == instance,
        }
    }

    /// Whether this is another process than the one that is known to have this id.
    fn is_another(&self, ring: &Ring, peer: NodeId, instance: u64) -> bool {
        match ring.members().get(&peer).map_or(0, |member| member.instance) {
            0 => self.inner.lock().instances.get(&peer).is_some_and(|known| *known != instance),
            named => named != instance,
        }
    }

    /// Whether a connection is accepted. Of one who is no member too: it may be one of a newer ring, or
    /// of an older one and have to learn that it is none any more. Who started again is told so first: by
    /// the list that it was started with it may take us for one who was here before.
    pub fn judge(&self, node: &ServerNode, hello: &Hello) -> Result<(), Refusal> {
        let ring = node.ring();
        let at = |address: &String| *address == hello.address;
        let is_there = ring.members().get(&hello.from).is_none_or(|member| at(&member.address));
        let is_another = || self.is_another(&ring, hello.from, hello.instance);
        if hello.cluster != self.hello.cluster {
            Err(Refusal::Cluster(self.hello.cluster))
        } else if hello.from != self.hello.from && is_there && is_another() {
            Err(Refusal::Restarted)
        } else if hello.to != self.hello.from || hello.from == self.hello.from || !is_there {
            Err(Refusal::Identity)
        } else if !node.ports().directory().meet(hello.from, &hello.address) {
            Err(Refusal::Full("too many who are no members speak to this node".into()))
        } else if !self.admit(&ring, hello.from, hello.instance) {
            Err(Refusal::Restarted)
        } else {
            if ring.members().contains_key(&hello.from) {
                let mut inner = self.inner.lock();
                inner.clients.retain(|id, _| ring.members().contains_key(id));
                inner.clients.insert(hello.from, hello.client.clone());
            }
            Ok(())
        }
    }
}
