//! What a command with many requests has still to send.

use std::vec;

use crate::core::types::{Key, Value};

/// Commands and requests under way per session; the next command is read when there are fewer. A command
/// that needs more requests than these sends them in waves.
pub const MOST_IN_FLIGHT: usize = 512;

/// Requests of a command that are still to be sent, and the sequence number of the next one.
#[derive(Debug, Default)]
pub struct Rest {
    pub(super) next: u32,
    pub(super) requests: Requests,
}

#[derive(Debug)]
pub(super) enum Requests {
    Reads(vec::IntoIter<Key>),
    Writes(vec::IntoIter<(Key, Value)>),
    Tombstones(vec::IntoIter<Key>),
}

impl Default for Requests {
    fn default() -> Self {
        Self::Reads(Vec::new().into_iter())
    }
}

impl Rest {
    /// The bytes that it holds, without those of texts that do not fit into their places.
    pub fn held(&self) -> usize {
        match &self.requests {
            Requests::Reads(keys) | Requests::Tombstones(keys) => keys.len() * size_of::<Key>(),
            Requests::Writes(pairs) => pairs.len() * size_of::<(Key, Value)>(),
        }
    }
}
