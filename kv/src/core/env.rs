//! What the core asks of the world that runs it: small traits, implemented by production, by the
//! simulation, by the interleaving checks and by the model.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::core::{
    message::Message,
    quorum::Level,
    record::{Record, Version},
    ring::{Acceptor, Ring},
    time::{ClockDoubt, Micros, Timestamp},
    types::{Epoch, Incarnation, Key, NodeId, RequestId, Slot, Value},
};

/// A timer of a shard. A machine has at most one of each kind armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShardTimer {
    /// Ask further owners, and the silent ones again.
    Hedge,
    /// Give up on the oldest requests.
    Timeout,
    /// Compare digests with the next peer.
    Sync,
    /// Ask peers for the time.
    Probe,
    /// Pull from the old owners, and offer to the new ones.
    Pull,
}

/// A timer of a topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopologyTimer {
    /// Ask for the ring again.
    Fetch,
    /// Ask again whether the ring is the newest, after a pause.
    Confirm,
    /// Propose the next ring, or see to it that what was accepted is decided.
    Propose,
    /// Report again that this node has done its part of a change.
    Report,
}

/// The only timer of a detector: look at who is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DetectorTimer;

/// Time.
pub trait Clock {
    /// The wall clock. Constant within a step; between steps it may jump, drift and run backwards.
    fn now(&self) -> Timestamp;

    /// The monotonic clock, since the process started. Constant within a step. For lengths of time
    /// only: round trips, and jumps of the wall clock.
    fn uptime(&self) -> Micros;
}

/// The timers of a kind of machine: whoever runs a machine arms no other's.
pub trait Timers<T> {
    /// Arms a timer: it fires some time after `after`, as an input.
    fn set_timer(&mut self, timer: T, after: Micros);
}

/// The way to other nodes.
pub trait Network {
    /// Sends a message, which may be lost, delayed, repeated and reordered.
    fn send(&mut self, to: NodeId, message: Message);
}

/// What a node must not forget.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Entry {
    /// The journal was opened by this incarnation.
    Opened(Incarnation),
    /// The journal is this member's.
    Member(NodeId),
    /// No timestamp at or above this was issued or seen.
    ClockFloor(Timestamp),
    /// A record was merged.
    Record(Key, Record),
    /// The records of these keys of a slot are other members' now.
    Dropped(Slot, Vec<Key>),
    /// A ring was learned. A shard answers at its epoch only after this is durable.
    Ring(Arc<Ring>),
    /// What was promised and accepted about the ring after the one of this epoch.
    Acceptor(Epoch, Acceptor),
}

/// The way to stable storage.
pub trait Journal {
    /// Appends to the node's commit buffer. No effect of this machine, of this or of a later step,
    /// leaves the node before the entry is durable.
    fn persist(&mut self, entry: Entry);
}

/// What a client asks of a shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Request {
    /// Store a value, or a tombstone.
    Put {
        /// The key.
        key: Key,
        /// The value; none deletes.
        value: Option<Value>,
        /// What to wait for.
        level: Level,
    },
    /// Tell the value.
    Get {
        /// The key.
        key: Key,
        /// What to wait for.
        level: Level,
        /// At SESSION: no older version than this is an answer.
        at_least: Option<Version>,
    },
    /// Store a record of a backup, with the version that it has. Where a newer one is held, nothing changes.
    Restore {
        /// The key.
        key: Key,
        /// The record.
        record: Record,
        /// What to wait for: as many owners as a put at that level writes to.
        level: Level,
    },
}

impl Request {
    /// The key that the request is about.
    pub fn key(&self) -> &Key {
        match self {
            Request::Put { key, .. } | Request::Get { key, .. } | Request::Restore { key, .. } => {
                key
            }
        }
    }

    /// The level.
    pub fn level(&self) -> Level {
        match self {
            Request::Put { level, .. }
            | Request::Get { level, .. }
            | Request::Restore { level, .. } => *level,
        }
    }
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reply {
    /// The write is done at its level, under this version.
    Written(Version),
    /// The read is done at its level: a record, a tombstone, or nothing.
    Found(Option<Record>),
    /// The request failed.
    Failed(Failure),
}

/// Why a request failed, and whether anything may have happened.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
pub enum Failure {
    /// Too many requests are under way on this shard. Nothing happened.
    #[error("BUSY too many requests are under way on this node; nothing was done, try again")]
    Busy,
    /// Not enough owners answered in time. A write may still take effect.
    #[error(
        "TIMEOUT too few owners answered in time; a read told nothing, try again; a write may or may \
         not take effect, read the key to find out"
    )]
    Timeout,
    /// Too few owners answered before anything was written. Nothing happened.
    #[error("UNAVAILABLE too few owners answered in time; nothing was written, try again")]
    Unavailable,
    /// Every owner answered a read at SESSION, and none has what the connection saw; or it saw too many keys,
    /// and since then the ring changed. Nothing happened.
    #[error(
        "STALE no owner is known to have what this connection wrote or read before; nothing was read, \
         try again, read at ALL, or leave SESSION and choose it again"
    )]
    Stale,
    /// This node's wall clock is off, or was not compared with its peers' yet. Nothing happened.
    #[error("CLOCK {0}; nothing was written")]
    Clock(ClockDoubt),
    /// This node stood still for a while. Either the request is of before its end, or the node does not know yet
    /// that its ring is still the newest. Nothing happened.
    #[error(
        "PAUSED this node stood still for a while, and a majority has not said yet that its ring is the newest; \
         nothing was done, try again, or ask another node"
    )]
    Paused,
}

impl Failure {
    /// Whether the request certainly had no effect.
    pub fn is_definite(self) -> bool {
        match self {
            Failure::Busy
            | Failure::Clock(_)
            | Failure::Paused
            | Failure::Unavailable
            | Failure::Stale => true,
            Failure::Timeout => false,
        }
    }
}

/// The way to clients.
pub trait Clients {
    /// Answers a request. At most once per request.
    fn reply(&mut self, request: RequestId, reply: Reply);
}

/// Something worth counting that the core did: a branch that is seldom taken.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    IntoStaticStr,
    VariantArray,
)]
pub enum Note {
    /// A request was refused: too many under way.
    Busy,
    /// A write was refused: the clock is not to be trusted.
    ClockRefused,
    /// The wall clock jumped against the monotonic clock; offsets are measured anew.
    ClockJumped,
    /// A request was refused: it is of before a pause of this node, or the node's ring may be.
    RefusedAfterPause,
    /// After a pause of this node a majority said that its ring is the newest.
    RingConfirmed,
    /// A write gave up.
    WriteTimedOut,
    /// A linearizable write gave up before enough owners told their versions.
    VersionsTimedOut,
    /// A read gave up before enough owners answered.
    ReadTimedOut,
    /// A read gave up while its write-back was under way.
    RepairTimedOut,
    /// A write was sent again to silent owners.
    WriteHedged,
    /// A write was issued again, because an owner told of a newer version.
    WriteReissued,
    /// A linearizable write asked further owners for their versions.
    VersionsHedged,
    /// A read asked further owners.
    ReadHedged,
    /// A write-back was sent to further owners.
    RepairHedged,
    /// A read found owners that differ, and wrote the newest record back before it answered.
    ReadRepaired,
    /// A read at SESSION found an owner older than what its connection saw, and asked the next one.
    SessionBehind,
    /// A read at SESSION found all owners older than what its connection saw.
    SessionStale,
    /// A replica refused a request of an earlier epoch.
    Fenced,
    /// A message of a later epoch was dropped, for the ring must be fetched first.
    Behind,
    /// A request began anew on a newer ring.
    Restarted,
    /// An answer came for a request that was over.
    LateAnswer,
    /// A slot's digests differed.
    SlotDiffered,
    /// Anti-entropy brought a record that was missing or newer.
    RecordSynced,
    /// There was more to compare than a message holds.
    SyncPaged,
    /// A newer ring was learned from a peer.
    RingLearned,
    /// A record was refused because its slot is owned by others.
    NotOwner,
    /// A next ring was proposed.
    Proposed,
    /// A proposal was refused, for a higher ballot was promised.
    BallotRefused,
    /// A proposer found the proposal of another, and went on with it.
    ProposalTakenOver,
    /// This node counted a majority for the next ring.
    RingDecided,
    /// Slots were pulled from enough of their old owners.
    SlotsPulled,
    /// An old owner was silent, and another one is asked.
    PullHedged,
    /// An old owner had more to send than an answer holds.
    PullPaged,
    /// An owner lacked a record of who is to give it up.
    RecordHandedOver,
    /// There was more to offer of a slot than a message holds.
    OfferPaged,
    /// All owners have the records of a slot that this node no longer owns: they are dropped.
    SlotDropped,
    /// The detector found a member that answers.
    SeemsUp,
    /// The detector found a member that does not answer.
    SeemsDown,
    /// Others took this node for dead, and it told them otherwise.
    TakenForDead,
    /// This node did nothing for a while, and does not hold against others that it heard nobody.
    OwnPauseNoticed,
    /// The detector got something that it could not read or did not expect.
    GossipRefused,
    /// A member was silent for so long that it is to be evicted.
    EvictionDue,
}

impl Note {
    /// As tallies have it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The way to whoever counts.
pub trait Trace {
    /// Counts.
    fn note(&mut self, note: Note);
}

/// The way from a shard to the node's topology.
pub trait Progress {
    /// All that the ring of this epoch asks of the shard is done. Reaches the topology once it is
    /// durable.
    fn synced(&mut self, epoch: Epoch);
}

/// All that a shard needs of its world.
pub trait Env: Clock + Timers<ShardTimer> + Network + Journal + Clients + Trace + Progress {}

impl<T> Env for T where
    T: Clock + Timers<ShardTimer> + Network + Journal + Clients + Trace + Progress
{
}

/// The way from a topology to the node's shards.
pub trait Publish {
    /// Hands a ring to each shard, once what the topology persisted is durable.
    fn publish(&mut self, ring: Arc<Ring>);

    /// A majority said, since the pause before this era of the node, that the ring of this epoch is the newest.
    fn confirmed(&mut self, era: u64, epoch: Epoch);
}

/// All that a topology needs of its world.
pub trait TopologyEnv: Clock + Timers<TopologyTimer> + Network + Journal + Trace + Publish {}

impl<T: Clock + Timers<TopologyTimer> + Network + Journal + Trace + Publish> TopologyEnv for T {}
