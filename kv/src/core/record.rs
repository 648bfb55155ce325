//! Versions and records: what is stored under a key, and which of two records wins.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::{
    time::Timestamp,
    types::{NodeId, Value},
};

/// The age of a record: the coordinator's hybrid logical clock, then its id.
///
/// Totally ordered, and no two writes ever have the same version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// When, by the coordinator's clock.
    pub timestamp: Timestamp,
    /// By which coordinator.
    pub node: NodeId,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.timestamp, self.node)
    }
}

/// A version with a value, or with none: a tombstone, the trace of a delete.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Record {
    /// The record's age.
    pub version: Version,
    /// The value, absent in a tombstone.
    pub value: Option<Value>,
}

impl Record {
    /// Whether this record replaces one of version `other`: last write wins.
    pub fn wins_over(&self, other: Version) -> bool {
        self.version > other
    }

    /// The winner of two records: commutative, associative and idempotent, so that replicas which
    /// received the same records in any order, any number of times, are equal.
    pub fn merge(self, other: Record) -> Record {
        if other.wins_over(self.version) { other } else { self }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{value} {}", self.version),
            None => write!(f, "tombstone {}", self.version),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Records of few, often equal versions. As in the store, a version names one write: the value
    /// is a function of the version.
    fn record() -> impl Strategy<Value = Record> {
        (0u64..4, 0u32..3).prop_map(|(time, node)| Record {
            version: Version { timestamp: Timestamp(time), node: NodeId(node) },
            value: (time != 2).then(|| Value::trusted(&format!("{time}-{node}"))),
        })
    }

    proptest! {
        #![proptest_config(crate::core::properties::usual())]

        #[test]
        fn merge_is_commutative(a in record(), b in record()) {
            prop_assert_eq!(a.clone().merge(b.clone()), b.merge(a));
        }

        #[test]
        fn merge_is_associative(a in record(), b in record(), c in record()) {
            let left = a.clone().merge(b.clone()).merge(c.clone());
            prop_assert_eq!(left, a.merge(b.merge(c)));
        }

        #[test]
        fn merge_is_idempotent(a in record()) {
            prop_assert_eq!(a.clone().merge(a.clone()), a);
        }
    }
}
