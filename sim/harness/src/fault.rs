//! What goes wrong in a run.
//!
//! To add a fault: name it here, apply it in `run/faults.rs`, and draw it in `swarm.rs`. The compiler asks for
//! all three, and a sweep in which it never happens fails.

use serde::{Deserialize, Serialize};
use strum::{EnumDiscriminants, IntoStaticStr, VariantArray};

use crate::{
    scenario::sense::{MAX_MS, MAX_US, Sense, thousandths, within},
    text::{TIED, length, nodes},
};

/// Something that goes wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins, in milliseconds.
    pub at_ms: u64,
    /// How long it lasts, in milliseconds. All end when the run heals.
    pub for_ms: u64,
    /// What it is.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, EnumDiscriminants)]
#[strum_discriminants(
    name(FaultName),
    derive(PartialOrd, Ord, Hash, VariantArray, IntoStaticStr),
    doc = "The kinds of faults, by name."
)]
pub enum FaultKind {
    /// These nodes stop at once and start again at the end: what was not durable is lost.
    #[strum_discriminants(strum(serialize = "crash"))]
    Crash(Vec<u32>),
    /// All nodes that run stop at once and start again at the end: what was not durable is lost.
    #[strum_discriminants(strum(serialize = "crash of all"))]
    CrashAll,
    /// This node's process ends in order, its disk is damaged, and it starts again at the end.
    #[strum_discriminants(strum(serialize = "rot"))]
    Rot(u32),
    /// This node does nothing, and then all that it missed at once.
    #[strum_discriminants(strum(serialize = "pause"))]
    Pause(u32),
    /// As a pause, and the next request of each client goes to this node: it lies in its socket.
    #[strum_discriminants(strum(serialize = "pause with requests"))]
    Stall(u32),
    /// What this node sends and receives takes so many microseconds longer.
    #[strum_discriminants(strum(serialize = "slow node"))]
    Slow(u32, u64),
    /// No message between these nodes and the others.
    #[strum_discriminants(strum(serialize = "partition"))]
    Partition(Vec<u32>),
    /// No message from the first to the second.
    #[strum_discriminants(strum(serialize = "one-way partition"))]
    OneWay(Vec<u32>, Vec<u32>),
    /// As a partition, on and off every so many milliseconds.
    #[strum_discriminants(strum(serialize = "flapping partition"))]
    Flapping(Vec<u32>, u64),
    /// Every link loses, doubles and reorders so many more, in thousandths.
    #[strum_discriminants(strum(serialize = "storm"))]
    Storm {
        /// Lost.
        loss: u32,
        /// Doubled.
        duplicate: u32,
        /// Reordered.
        reorder: u32,
    },
    /// This node's wall clock jumps by so many microseconds, and back at the end.
    #[strum_discriminants(strum(serialize = "clock jump"))]
    ClockJump(u32, i64),
}

impl FaultName {
    /// As logs and tables have it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl FaultKind {
    /// As logs and tables have it.
    pub fn name(&self) -> &'static str {
        FaultName::from(self).name()
    }

    /// The nodes that it names.
    pub fn nodes(&self) -> Vec<u32> {
        match self {
            FaultKind::Crash(nodes)
            | FaultKind::Partition(nodes)
            | FaultKind::Flapping(nodes, _) => nodes.clone(),
            FaultKind::OneWay(from, to) => from.iter().chain(to).copied().collect(),
            FaultKind::Rot(node)
            | FaultKind::Pause(node)
            | FaultKind::Stall(node)
            | FaultKind::Slow(node, _)
            | FaultKind::ClockJump(node, _) => vec![*node],
            FaultKind::CrashAll | FaultKind::Storm { .. } => Vec::new(),
        }
    }

    /// Whether it parts nodes from each other, in one direction at least: operators are told while one is on.
    pub fn is_partition(&self) -> bool {
        match FaultName::from(self) {
            FaultName::Partition | FaultName::OneWay | FaultName::Flapping => true,
            FaultName::Crash
            | FaultName::CrashAll
            | FaultName::Rot
            | FaultName::Pause
            | FaultName::Stall
            | FaultName::Slow
            | FaultName::Storm
            | FaultName::ClockJump => false,
        }
    }

    /// Whether its numbers are of a size that a run can have.
    pub(crate) fn check(&self) -> Sense {
        let most = i64::try_from(MAX_US).expect("an hour");
        match self {
            FaultKind::Flapping(_, period_ms) => {
                within("a flapping partition's period", *period_ms, 1..=MAX_MS)
            }
            FaultKind::Slow(_, by_us) => within("a slow node's delay", *by_us, 0..=MAX_US),
            FaultKind::ClockJump(_, by_us) => within("a clock's jump", *by_us, -most..=most),
            FaultKind::Storm { loss, duplicate, reorder } => {
                thousandths("a storm's", *loss, *duplicate, *reorder)
            }
            FaultKind::Crash(_)
            | FaultKind::CrashAll
            | FaultKind::Rot(_)
            | FaultKind::Pause(_)
            | FaultKind::Stall(_)
            | FaultKind::Partition(_)
            | FaultKind::OneWay(..) => Ok(()),
        }
    }

    /// How a story tells that it begins.
    pub fn beginning(&self) -> String {
        match self {
            FaultKind::Crash(of) => format!("{} crash, and lose what is not durable", nodes(of)),
            FaultKind::CrashAll => "all nodes crash, and lose what is not durable".into(),
            FaultKind::Rot(node) => format!("n{node} ends, and its disk is damaged"),
            FaultKind::Pause(node) => format!("n{node} stands still"),
            FaultKind::Stall(node) => {
                format!("n{node} stands still, with the next request of each client in its socket")
            }
            FaultKind::Slow(node, by_us) => {
                let by = length(*by_us);
                format!("n{node} is slow: all that it sends and receives takes {by} longer")
            }
            FaultKind::Partition(side) => {
                format!("partition: {} apart from all others", nodes(side))
            }
            FaultKind::OneWay(from, to) => {
                format!("one-way partition: nothing from {} reaches {}", nodes(from), nodes(to))
            }
            FaultKind::Flapping(side, period_ms) => {
                let (side, every) = (nodes(side), length(period_ms * 1_000));
                format!(
                    "flapping partition: {side} apart from all others, off and on every {every}"
                )
            }
            FaultKind::Storm { loss, duplicate, reorder } => {
                let fates = [(*loss, "lost"), (*duplicate, "doubled"), (*reorder, "reordered")];
                format!("network storm: of all messages {} beside the usual", shares(fates))
            }
            FaultKind::ClockJump(node, by_us) => {
                let way = if *by_us < 0 { "back" } else { "ahead" };
                format!("the clock of n{node} jumps {way} by {}", length(by_us.unsigned_abs()))
            }
        }
    }

    /// How a story tells that it ends.
    pub fn ending(&self) -> String {
        match self {
            FaultKind::Crash(of) => format!("{} may start again", nodes(of)),
            FaultKind::CrashAll => "all nodes may start again".into(),
            FaultKind::Rot(node) => format!("n{node} may start again"),
            FaultKind::Pause(node) | FaultKind::Stall(node) => format!("n{node} goes on"),
            FaultKind::Slow(node, _) => format!("n{node} is no longer slow"),
            FaultKind::Partition(side) => format!("the partition of {} ends", nodes(side)),
            FaultKind::OneWay(from, to) => {
                format!("the one-way partition from {} to {} ends", nodes(from), nodes(to))
            }
            FaultKind::Flapping(side, _) => {
                format!("the flapping partition of {} ends", nodes(side))
            }
            FaultKind::Storm { .. } => "the network storm ends".into(),
            FaultKind::ClockJump(node, _) => format!("the clock of n{node} jumps back"),
        }
    }
}

/// How many messages more than usual have each of these fates, in thousandths.
fn shares(of: [(u32, &str); 3]) -> String {
    let some = of.into_iter().filter(|(per_mille, _)| *per_mille > 0);
    let shares = some.map(|(share, fate)| format!("{}.{}{TIED}% {fate}", share / 10, share % 10));
    let shares: Vec<String> = shares.collect();
    if shares.is_empty() { "0 %".into() } else { shares.join(", ") }
}
