//! Names for the plain numbers and strings that the store is about.

use std::{fmt, str::FromStr};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// The most bytes that a key or a value may have under any configuration of [`Limits`].
///
/// It bounds what a peer can make us hold before limits in characters are looked at.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;

/// A member of the ring. The ring hands ids out and never reuses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// Not the id of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no node: ids are written n4 or 4")]
pub struct NotANode(String);

impl FromStr for NodeId {
    type Err = NotANode;

    fn from_str(text: &str) -> Result<Self, NotANode> {
        let digits = text.strip_prefix(['n', 'N']).unwrap_or(text);
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let id = digits.parse().ok().filter(|id| is_number && *id > 0);
        id.map(NodeId).ok_or_else(|| NotANode(text.chars().take(32).collect()))
    }
}

/// Whether this is an address that others can connect to: a host, and a port that is not 0.
pub fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_host = !host.is_empty() && !host.contains(char::is_whitespace);
        is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// The number of a ring: each change of the ring adds one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// The number of a proposal for the next ring. Of two proposals the one with the larger ballot wins, and
/// no two proposers share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// Counts up.
    pub round: u64,
    /// Who proposes.
    pub node: NodeId,
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.round, self.node)
    }
}

/// One of the ring's positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(pub u16);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

/// A client's request on one node. The world that took the request chooses the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// A coordinator's operation, by which replicas address their answers.
///
/// Unique among all operations that a node ever coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpId {
    /// The coordinator's shard, to which the answer goes.
    pub shard: u16,
    /// Counts within the shard. The high bits are the incarnation.
    pub sequence: u64,
}

impl OpId {
    const SEQUENCE_BITS: u32 = 44;

    /// The first operation of a shard in an incarnation. An incarnation has 2^44 operations.
    pub fn first_of(shard: u16, incarnation: Incarnation) -> Self {
        Self { shard, sequence: u64::from(incarnation.0) << Self::SEQUENCE_BITS }
    }

    /// The operation after this one.
    pub fn next(self) -> Self {
        Self { sequence: self.sequence + 1, ..self }
    }
}

/// How many times the journal of a node was opened: it tells a restarted node from its former self.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Incarnation(pub u32);

/// How long keys and values may be, in Unicode scalar values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// The longest key.
    pub key_chars: usize,
    /// The longest value.
    pub value_chars: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { key_chars: 50, value_chars: 200 }
    }
}

/// Why a text is refused as a key or as a value. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Longer than the limit.
    #[error("the {what} has {chars} characters, the limit is {limit}")]
    TooLong {
        /// `key` or `value`.
        what: &'static str,
        /// The length that was given.
        chars: usize,
        /// The limit.
        limit: usize,
    },
    /// Not text.
    #[error("the {what} is not valid UTF-8 (at byte {at})")]
    NotUtf8 {
        /// `key` or `value`.
        what: &'static str,
        /// The first byte that is wrong.
        at: usize,
    },
}

fn checked<'a>(what: &'static str, bytes: &'a [u8], limit: usize) -> Result<&'a str, LimitError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| LimitError::NotUtf8 { what, at: e.valid_up_to() })?;
    // A character has at least one byte: a text of few bytes needs no counting.
    if text.len() > limit {
        let chars = text.chars().count();
        if chars > limit || text.len() > MAX_TEXT_BYTES {
            return Err(LimitError::TooLong { what, chars, limit });
        }
    }
    Ok(text)
}

/// A key: UTF-8, possibly empty, no longer than [`Limits::key_chars`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "CompactString")]
pub struct Key(CompactString);

impl TryFrom<CompactString> for Key {
    type Error = LimitError;

    /// Takes what a peer or a journal has: limits in characters are its coordinator's business.
    fn try_from(text: CompactString) -> Result<Self, LimitError> {
        match text.len() <= MAX_TEXT_BYTES {
            true => Ok(Self(text)),
            false => Err(LimitError::TooLong {
                what: "key",
                chars: text.chars().count(),
                limit: MAX_TEXT_BYTES,
            }),
        }
    }
}

impl Key {
    /// Takes `bytes` as a key.
    pub fn new(bytes: &[u8], limits: &Limits) -> Result<Self, LimitError> {
        checked("key", bytes, limits.key_chars).map(|text| Self(text.into()))
    }

    /// A key that is known to be within its limits: one from the store, or a literal of a test.
    pub fn trusted(text: &str) -> Self {
        Self(text.into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.as_str())
    }
}

/// A value: UTF-8, possibly empty, no longer than [`Limits::value_chars`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "CompactString")]
pub struct Value(CompactString);

impl TryFrom<CompactString> for Value {
    type Error = LimitError;

    /// Takes what a peer or a journal has: limits in characters are its coordinator's business.
    fn try_from(text: CompactString) -> Result<Self, LimitError> {
        match text.len() <= MAX_TEXT_BYTES {
            true => Ok(Self(text)),
            false => Err(LimitError::TooLong {
                what: "value",
                chars: text.chars().count(),
                limit: MAX_TEXT_BYTES,
            }),
        }
    }
}

impl Value {
    /// Takes `bytes` as a value.
    pub fn new(bytes: &[u8], limits: &Limits) -> Result<Self, LimitError> {
        checked("value", bytes, limits.value_chars).map(|text| Self(text.into()))
    }

    /// A value that is known to be within its limits: one from the store, or a literal of a test.
    pub fn trusted(text: &str) -> Self {
        Self(text.into())
    }

    /// The value as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_characters_and_not_bytes() {
        let limits = Limits::default();
        let key = "é".repeat(50);
        assert_eq!(Key::new(key.as_bytes(), &limits).unwrap().as_str(), key);
        let long = "é".repeat(51);
        assert_eq!(
            Key::new(long.as_bytes(), &limits).unwrap_err().to_string(),
            "the key has 51 characters, the limit is 50"
        );
        assert!(Value::new("v".repeat(200).as_bytes(), &limits).is_ok());
        assert!(Value::new("v".repeat(201).as_bytes(), &limits).is_err());
    }

    #[test]
    fn the_empty_string_is_a_key_and_a_value() {
        let limits = Limits::default();
        assert_eq!(Key::new(b"", &limits).unwrap().as_str(), "");
        assert_eq!(Value::new(b"", &limits).unwrap().as_str(), "");
    }

    #[test]
    fn bytes_that_are_not_text_are_refused_with_their_place() {
        let error = Value::new(b"ab\xff", &Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), "the value is not valid UTF-8 (at byte 2)");
    }

    #[test]
    fn operations_of_two_incarnations_never_share_a_number() {
        let first = OpId::first_of(0, Incarnation(1));
        let second = OpId::first_of(0, Incarnation(2));
        assert!(first.next() < second);
        assert_eq!(second.sequence - first.sequence, 1 << 44);
    }
}
