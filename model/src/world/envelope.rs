//! What is on its way between nodes, and its hash.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use kv::core::{message::Message, types::NodeId};
use xxhash_rust::xxh3::Xxh3;

/// A value with its hash, which is taken once: states share what did not change.
#[derive(Clone)]
pub struct Hashed<T>(Arc<(u64, T)>);

impl<T: Hash> Hashed<T> {
    /// Takes the hash.
    pub fn new(value: T) -> Self {
        let mut hasher = Xxh3::new();
        value.hash(&mut hasher);
        Self(Arc::new((hasher.finish(), value)))
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.0.0
    }
}

impl<T> std::ops::Deref for Hashed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.1
    }
}

impl<T> Hash for Hashed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.0.hash(state);
    }
}

impl<T: PartialEq> PartialEq for Hashed<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.0 == other.0.0 && self.0.1 == other.0.1
    }
}

impl<T: fmt::Debug> fmt::Debug for Hashed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.1.fmt(f)
    }
}

/// A message on its way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Envelope {
    /// Who sent it.
    pub from: NodeId,
    /// Whom it is for.
    pub to: NodeId,
    /// What it says.
    pub message: Message,
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {:?}", self.from, self.to, self.message.body)
    }
}
