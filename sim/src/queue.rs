//! What is to come in a simulation, in the order of time.

use kv::{
    core::{
        env::{Request, Timer},
        message::Message,
        ring::Change,
        types::{NodeId, RequestId},
    },
    node::{Era, Machine},
};

/// What the rest of the simulation is woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A client goes on.
    Client(usize),
    /// A client stops waiting for an operation.
    GiveUp(usize),
    /// A fault begins.
    FaultBegins(usize),
    /// A fault ends.
    FaultEnds(usize),
    /// A flapping partition turns on or off.
    Flap(usize, bool),
    /// The operator looks at the ring.
    Operator,
    /// The next step of the script.
    Script(usize),
    /// The phase is looked at.
    Phase,
}

/// Something in the queue.
pub(crate) enum Due {
    Arrive {
        to: NodeId,
        from: NodeId,
        id: u64,
        message: Message,
    },
    /// Over a connection of this era of the node.
    Ask {
        to: NodeId,
        request: RequestId,
        what: Request,
        era: Era,
    },
    Timer {
        node: NodeId,
        starts: u32,
        machine: Machine,
        timer: Timer,
    },
    Synced {
        node: NodeId,
        starts: u32,
    },
    Change {
        node: NodeId,
        change: Change,
    },
    Wake(Wake),
}

/// Something in the queue, with its time.
pub(crate) struct Queued {
    pub(crate) at: u64,
    /// Equal times are in the order in which they were queued.
    pub(crate) order: u64,
    pub(crate) due: Due,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
