//! A script: the part of a run in which nothing is left to chance. Messages and timers wait until the script
//! names them, journals are durable at once, and time hardly passes. That is how a model checker's
//! counterexample is replayed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A step of a script.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ScriptStep {
    /// The client of this operation, a place in the scenario's list, asks.
    Ask(usize),
    /// A message arrives.
    Deliver(Wire),
    /// A message is lost.
    Lose(Wire),
    /// A message arrives, and will arrive once more.
    Double(Wire),
    /// A timer of a node fires, by its name.
    Fire(u32, String),
    /// A node crashes, and starts again at once.
    Crash(u32),
}

impl fmt::Display for ScriptStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(place) => write!(f, "operation {place} is asked for"),
            Self::Deliver(wire) => write!(f, "deliver {wire}"),
            Self::Lose(wire) => write!(f, "lose {wire}"),
            Self::Double(wire) => write!(f, "deliver, and keep, {wire}"),
            Self::Fire(node, timer) => write!(f, "{timer} of n{node} fires"),
            Self::Crash(node) => write!(f, "n{node} crashes and starts again"),
        }
    }
}

/// A message, as a script names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    /// The sender.
    pub from: u32,
    /// The receiver.
    pub to: u32,
    /// What it says, in the system's words for it.
    pub says: String,
    /// How many of those that are alike are passed over, the oldest first: a message that was doubled counts
    /// as one that was sent just then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub after: usize,
}

fn is_zero(after: &usize) -> bool {
    *after == 0
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from n{} to n{}", self.says, self.from, self.to)?;
        match self.after {
            0 => Ok(()),
            after => write!(f, ", after {after} like it"),
        }
    }
}

/// What the script names does not wait, or cannot happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There is no such message.
    #[error("no such message waits: {wanted:?}; there are {there:?}")]
    Message {
        /// What the script names.
        wanted: Wire,
        /// What waits.
        there: Vec<String>,
    },
    /// There is no such timer.
    #[error("{timer} of node {node} is not armed")]
    Timer {
        /// The node.
        node: u32,
        /// What the script names.
        timer: String,
    },
    /// The script is over.
    #[error("the script has ended")]
    Over,
}
