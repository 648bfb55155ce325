//! What must have happened in a sweep of the store: every outcome of every operation, every rare branch of its
//! nodes, and every event that its operators and checks look for. What has no gate says why not.

use std::borrow::Cow;

use harness::tally::{Gate, Topic};
use kv::core::{env::Note, quorum::Level};
use strum::{IntoStaticStr, VariantArray};

/// What should happen now and then in runs of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, VariantArray, IntoStaticStr)]
pub enum Sometimes {
    /// A ring that two sets of owners share was decided.
    #[strum(serialize = "joint ring")]
    JointRing,
    /// A ring with one set of owners was decided.
    #[strum(serialize = "final ring")]
    FinalRing,
    /// A process became a member, and started.
    #[strum(serialize = "a process joined")]
    Joined,
    /// The others can do without a node that left.
    #[strum(serialize = "a member was released")]
    Released,
    /// Nobody had asked for it, and it lived.
    #[strum(serialize = "a member was evicted by its peers")]
    EvictedAlive,
    /// Nobody had asked for it, and it was dead.
    #[strum(serialize = "a dead member was evicted by its peers")]
    EvictedDead,
    /// A process that its peers had evicted joined again.
    #[strum(serialize = "an evicted process joined anew")]
    JoinedAnew,
    /// A partition came and went, and nobody was evicted for it.
    #[strum(serialize = "a flapping node stayed a member")]
    FlappingStayed,
    /// The ring did not allow a change.
    #[strum(serialize = "a change was refused")]
    Refused,
    /// A change did not show in time.
    #[strum(serialize = "a change was asked for again")]
    AskedAgain,
    /// The new owners have all.
    #[strum(serialize = "a change was finished")]
    Finished,
    /// The old owners stay.
    #[strum(serialize = "a change was given up")]
    GivenUp,
    /// A change began before the last one was over.
    #[strum(serialize = "a joint ring followed a joint one")]
    JointAfterJoint,
    /// A process that was joining is no member after all.
    #[strum(serialize = "a joiner was dropped")]
    JoinerDropped,
    /// A process died while it was joining.
    #[strum(serialize = "a joiner died for good")]
    JoinerDied,
    /// A member of a larger ring died.
    #[strum(serialize = "a member died for good")]
    MemberDied,
    /// A member left by its own wish.
    #[strum(serialize = "a member left")]
    Left,
    /// A third of the members died.
    #[strum(serialize = "one of three died for good")]
    OneOfThreeDied,
    /// One change brings several members.
    #[strum(serialize = "several joined at once")]
    SeveralJoined,
    /// A ring changed addresses of clients, and nothing else.
    #[strum(serialize = "members said where clients reach them")]
    ClientsMoved,
    /// A fault began in the middle of a change.
    #[strum(serialize = "a fault began while the ring was joint")]
    FaultWhileJoint,
    /// A ring was decided while a partition was on.
    #[strum(serialize = "the ring changed across a partition")]
    ChangedAcross,
    /// A client asked a node that had not heard of the last ring.
    #[strum(serialize = "asked a coordinator that is a ring behind")]
    RingBehind,
    /// A client asked a node that had not heard of several rings.
    #[strum(serialize = "asked a coordinator that is rings behind")]
    RingsBehind,
    /// A request that came out of a socket late was not served.
    #[strum(serialize = "a request that its client had given up was refused after a pause")]
    RefusedLate,
    /// ONE promises no more.
    #[strum(serialize = "stale read at one")]
    StaleAtOne,
    /// Last write wins, by the clock.
    #[strum(serialize = "lost update between coordinators")]
    LostUpdate,
    /// The empty value is a value.
    #[strum(serialize = "empty value read")]
    EmptyRead,
    /// A write that had timed out took effect.
    #[strum(serialize = "unknown write read later")]
    UnknownRead,
    /// A connection at SESSION saw more keys than it remembers.
    #[strum(serialize = "session overflowed")]
    SessionOverflowed,
    /// Writes at LINEARIZABLE overlapped.
    #[strum(serialize = "linearizable key contended")]
    Contended,
    /// A write at LINEARIZABLE that had timed out took effect.
    #[strum(serialize = "unknown linearizable write read later")]
    UnknownLinearizable,
    /// A member whose journal was damaged came back as another one, with what could be read.
    #[strum(serialize = "a damaged member came back as another one")]
    CameBackDamaged,
    /// As many disks were lost as had acknowledged a write.
    #[strum(serialize = "an ok write was lost with its disks")]
    LostWithDisks,
}

/// At which levels of its clients a sweep must have seen something.
enum When {
    /// At any of these.
    At(&'static [Level]),
    /// Never: why not.
    Never(&'static str),
}

use When::{At, Never};

/// At any level.
const ALWAYS: When = At(&Level::EVERY);
/// The levels at which a read repairs before it answers.
const MAJORITY: When = At(&[Level::Quorum, Level::All, Level::Linearizable]);
/// The levels at which a write is newer than those before it only by its coordinator's clock.
const BY_CLOCK: When = At(&[Level::One, Level::Session]);
/// The levels at which a write that owners held something newer than is issued again.
const REISSUED: When = At(&[Level::Quorum, Level::All]);
const SESSION: When = At(&[Level::Session]);
const LINEARIZABLE: When = At(&[Level::Linearizable]);

impl Sometimes {
    fn when(self) -> When {
        match self {
            Self::StaleAtOne => At(&[Level::One]),
            Self::LostUpdate => BY_CLOCK,
            Self::SessionOverflowed => SESSION,
            Self::Contended | Self::UnknownLinearizable => LINEARIZABLE,
            Self::LostWithDisks => Never("it takes deaths at just the wrong time"),
            Self::JointRing
            | Self::FinalRing
            | Self::Joined
            | Self::Released
            | Self::EvictedAlive
            | Self::EvictedDead
            | Self::JoinedAnew
            | Self::FlappingStayed
            | Self::Refused
            | Self::AskedAgain
            | Self::Finished
            | Self::GivenUp
            | Self::JointAfterJoint
            | Self::JoinerDropped
            | Self::JoinerDied
            | Self::MemberDied
            | Self::Left
            | Self::OneOfThreeDied
            | Self::SeveralJoined
            | Self::ClientsMoved
            | Self::FaultWhileJoint
            | Self::ChangedAcross
            | Self::RingBehind
            | Self::RingsBehind
            | Self::RefusedLate
            | Self::CameBackDamaged
            | Self::EmptyRead
            | Self::UnknownRead => ALWAYS,
        }
    }
}

/// At which levels a branch of a node is taken.
fn when_noted(note: Note) -> When {
    match note {
        Note::VersionsTimedOut | Note::VersionsHedged => LINEARIZABLE,
        Note::ReadRepaired | Note::RepairHedged | Note::RepairTimedOut => MAJORITY,
        Note::WriteReissued => REISSUED,
        Note::SessionBehind => SESSION,
        Note::NotOwner => Never(
            "no peer with our ring asks a node for a slot that it does not own: only what bypasses the fence \
             can, a late record of anti-entropy after a change",
        ),
        Note::SessionStale => Never(
            "no acknowledged record is lost as long as no disk is, so that some owner has what a session saw; a \
             coordinator that is behind the ring may not ask that one, but hardly ever",
        ),
        Note::GossipRefused => Never(
            "it takes a message that SWIM does not expect, which is rare: some sweeps of 400 seeds have none",
        ),
        Note::Busy
        | Note::ClockRefused
        | Note::ClockJumped
        | Note::RefusedAfterPause
        | Note::RingConfirmed
        | Note::WriteTimedOut
        | Note::ReadTimedOut
        | Note::WriteHedged
        | Note::ReadHedged
        | Note::Fenced
        | Note::Behind
        | Note::Restarted
        | Note::LateAnswer
        | Note::SlotDiffered
        | Note::RecordSynced
        | Note::SyncPaged
        | Note::RingLearned
        | Note::Proposed
        | Note::BallotRefused
        | Note::ProposalTakenOver
        | Note::RingDecided
        | Note::SlotsPulled
        | Note::PullHedged
        | Note::PullPaged
        | Note::RecordHandedOver
        | Note::OfferPaged
        | Note::SlotDropped
        | Note::SeemsUp
        | Note::SeemsDown
        | Note::TakenForDead
        | Note::OwnPauseNoticed
        | Note::EvictionDue => ALWAYS,
    }
}

/// What no sweep is asked for, and why not: the names of branches and events, with the reasons.
pub fn never() -> Vec<(&'static str, &'static str)> {
    let notes = Note::VARIANTS.iter().map(|note| (note.name(), when_noted(*note)));
    let events = Sometimes::VARIANTS.iter().map(|event| (event.into(), event.when()));
    let reason = |(name, when)| match when {
        At(_) => None,
        Never(why) => Some((name, why)),
    };
    notes.chain(events).filter_map(reason).collect()
}

/// What a sweep must have seen. Where clients use one level only, what happens at others only is left out.
pub fn gates(only: Option<Level>) -> Vec<Gate> {
    let is_used = |level: &Level| only.is_none_or(|only| only == *level);
    let is_asked = |when: When| match when {
        At(levels) => levels.iter().any(is_used),
        Never(_) => false,
    };
    let mut gates = Gate::usual();
    gates.extend(harness::journal::gates());
    for level in Level::EVERY.iter().filter(|level| is_used(level)) {
        let name = |kind: &str, how: &str| format!("{kind} {level} {how}");
        for kind in ["put", "delete", "get"] {
            gates.push(Gate::new(Topic::Operation, name(kind, "ok")));
        }
        // To a coordinator a tombstone is a value like any other.
        let writes = ["put", "delete"].map(|kind| Cow::Owned(name(kind, "timeout")));
        gates.push(Gate { topic: Topic::Operation, any_of: writes.into() });
        gates.push(Gate::new(Topic::Operation, name("get", "timeout")));
    }
    for outcome in ["busy", "clock", "paused", "node down", "node crashed", "no answer"] {
        gates.push(Gate::new(Topic::Operation, outcome));
    }
    let notes = Note::VARIANTS.iter().filter(|note| is_asked(when_noted(**note)));
    gates.extend(notes.map(|note| Gate::new(Topic::Note, note.name())));
    let events = Sometimes::VARIANTS.iter().filter(|event| is_asked(event.when()));
    gates.extend(events.map(|event| Gate::new(Topic::Event, <&str>::from(event))));
    gates
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_branch_and_each_event_has_a_gate_or_a_reason_and_not_both() {
        let gated: BTreeSet<String> = gates(None).iter().map(Gate::name).collect();
        let never: BTreeSet<&str> = never().into_iter().map(|(name, _)| name).collect();
        let notes = Note::VARIANTS.iter().map(|note| note.name());
        let events = Sometimes::VARIANTS.iter().map(<&str>::from);
        for name in notes.chain(events) {
            assert!(gated.contains(name) != never.contains(name), "{name}");
        }
        assert!(never.len() < 10, "{never:?}");
    }
}
