//! What happens in a run, in words with units.

use kv::core::{
    message::Body,
    ring::{Change, MemberState, Ring},
    types::NodeId,
};

use crate::{
    scenario::{Action, FaultKind},
    world::network::Fate,
};

/// Characters of a key or a value that are shown at most.
const MOST_TEXT: usize = 24;

/// Stands between a number and its unit, so that no line ends there.
pub const TIED: char = '\u{a0}';

/// A time, in the unit that suits it.
pub fn length(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}{TIED}us"),
        1_000..1_000_000 => format!("{:.1}{TIED}ms", us as f64 / 1e3),
        1_000_000.. => format!("{:.1}{TIED}s", us as f64 / 1e6),
    }
}

/// How many messages more than usual have each of these fates, in thousandths.
fn shares(of: [(u32, &str); 3]) -> String {
    let some = of.into_iter().filter(|(per_mille, _)| *per_mille > 0);
    let shares = some.map(|(share, fate)| format!("{}.{}{TIED}% {fate}", share / 10, share % 10));
    let shares: Vec<String> = shares.collect();
    if shares.is_empty() { "0 %".into() } else { shares.join(", ") }
}

fn nodes(of: &[u32]) -> String {
    let names: Vec<String> = of.iter().map(|node| NodeId(*node).to_string()).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => "no node".into(),
    }
}

/// What goes wrong when a fault begins.
pub fn fault(kind: &FaultKind) -> String {
    match kind {
        FaultKind::Crash(of) => format!("{} crash, and lose what is not durable", nodes(of)),
        FaultKind::Pause(node) => format!("{} stands still", NodeId(*node)),
        FaultKind::Stall(node) => {
            let node = NodeId(*node);
            format!("{node} stands still, with the next request of each client in its socket")
        }
        FaultKind::Slow(node, by_us) => {
            let (node, by) = (NodeId(*node), length(*by_us));
            format!("{node} is slow: all that it sends and receives takes {by} longer")
        }
        FaultKind::Partition(side) => format!("partition: {} apart from all others", nodes(side)),
        FaultKind::OneWay(from, to) => {
            format!("one-way partition: nothing from {} reaches {}", nodes(from), nodes(to))
        }
        FaultKind::Flapping(side, period_ms) => {
            let every = length(period_ms * 1_000);
            format!(
                "flapping partition: {} apart from all others, off and on every {every}",
                nodes(side)
            )
        }
        FaultKind::Storm { loss, duplicate, reorder } => {
            let fates = [(*loss, "lost"), (*duplicate, "doubled"), (*reorder, "reordered")];
            format!("network storm: of all messages {} beside the usual", shares(fates))
        }
        FaultKind::ClockJump(node, by_us) => {
            let way = if *by_us < 0 { "back" } else { "ahead" };
            format!(
                "the clock of {} jumps {way} by {}",
                NodeId(*node),
                length(by_us.unsigned_abs())
            )
        }
    }
}

/// A fault that ends.
pub fn fault_end(kind: &FaultKind) -> String {
    match kind {
        FaultKind::Crash(of) => format!("{} may start again", nodes(of)),
        FaultKind::Pause(node) | FaultKind::Stall(node) => format!("{} goes on", NodeId(*node)),
        FaultKind::Slow(node, _) => format!("{} is no longer slow", NodeId(*node)),
        FaultKind::Partition(side) => format!("the partition of {} ends", nodes(side)),
        FaultKind::OneWay(from, to) => {
            format!("the one-way partition from {} to {} ends", nodes(from), nodes(to))
        }
        FaultKind::Flapping(side, _) => format!("the flapping partition of {} ends", nodes(side)),
        FaultKind::Storm { .. } => "the network storm ends".into(),
        FaultKind::ClockJump(node, _) => format!("the clock of {} jumps back", NodeId(*node)),
    }
}

/// What a node is asked for.
pub fn change(of: &Change) -> String {
    match of {
        Change::Join(joiner) => format!("that {} joins", joiner.address),
        Change::Leave(node) => format!("that {node} leaves"),
        Change::Evict(node) => format!("that {node} is evicted"),
        Change::Cancel(epoch) => format!("that the change of ring {} is cancelled", epoch.0),
        Change::Client(node, client) => format!("that {node} tells clients {client}"),
    }
}

/// A ring that was decided.
pub fn ring(of: &Ring) -> String {
    let named = |wanted: MemberState| -> Vec<u32> {
        let members = of.members().iter().filter(|(_, member)| member.state == wanted);
        members.map(|(id, _)| id.0).collect()
    };
    let epoch = of.epoch().0;
    let mut changes = Vec::new();
    for (state, verb) in [
        (MemberState::Joining, "joining"),
        (MemberState::Leaving, "leaving"),
        (MemberState::Evicted, "evicted"),
    ] {
        let of_state = named(state);
        if !of_state.is_empty() {
            changes.push(format!("{} {verb}", nodes(&of_state)));
        }
    }
    match changes.is_empty() {
        true => format!("ring {epoch} is decided: {}", nodes(&named(MemberState::Active))),
        false => format!("ring {epoch} is decided, joint: {}", changes.join(", ")),
    }
}

/// A text in quotes, cut where it is long.
pub fn text(of: &str) -> String {
    match of.chars().count() > MOST_TEXT {
        true => format!("{:?}…", of.chars().take(MOST_TEXT).collect::<String>()),
        false => format!("{of:?}"),
    }
}

/// What a client asks; without the key where all is about one.
pub fn action(of: &Action, with_key: bool) -> String {
    let key = if with_key { format!(" {}", text(of.key())) } else { String::new() };
    let level = of.level();
    match of {
        Action::Put(_, value, _) => format!("put{key} {} at {level}", text(value)),
        Action::Delete(..) => format!("delete{key} at {level}"),
        Action::Get(..) => format!("get{key} at {level}"),
    }
}

/// Why a message never arrives. None: it does.
pub fn lost(fate: Fate) -> Option<&'static str> {
    match fate {
        Fate::Lost => Some("LOST by chance"),
        Fate::Cut => Some("LOST: the link is cut"),
        Fate::Arrives(_) | Fate::Twice(..) | Fate::HeldBack(_) | Fate::Waits => None,
    }
}

/// What a message does, where that is not said by what it carries.
pub fn verb(body: &Body) -> &'static str {
    match body {
        Body::Write { .. } => "write",
        Body::Written { .. } => "acknowledged",
        Body::Read { .. } => "read",
        Body::Found { .. } => "found",
        Body::Fenced { .. } => "refused, for its ring is newer",
        Body::Newer { .. } | Body::Delta { .. } => "compared, and sent",
        Body::Pulled { .. } => "pulled",
        Body::Digests { .. }
        | Body::Differ { .. }
        | Body::Versions { .. }
        | Body::Probe { .. }
        | Body::ProbeReply { .. }
        | Body::Pull { .. }
        | Body::Offer { .. }
        | Body::Wanted { .. }
        | Body::Prepare { .. }
        | Body::Promise { .. }
        | Body::Accept { .. }
        | Body::Accepted { .. }
        | Body::Refused { .. }
        | Body::Synced
        | Body::RingRequest
        | Body::Ring(_)
        | Body::Gossip(_)
        | Body::IsNewest { .. }
        | Body::Newest { .. } => body.name(),
    }
}
