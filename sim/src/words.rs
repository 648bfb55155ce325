//! What operators and clients do, in words.

use harness::text::{nodes, quoted};
use kv::core::ring::{Change, MemberState, Ring};

use crate::scenario::Action;

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

/// What a client asks; without the key where all is about one.
pub fn action(of: &Action, with_key: bool) -> String {
    let key = if with_key { format!(" {}", quoted(of.key())) } else { String::new() };
    let level = of.level();
    match of {
        Action::Put(_, value, _) => format!("put{key} {} at {level}", quoted(value)),
        Action::Delete(..) => format!("delete{key} at {level}"),
        Action::Get(..) => format!("get{key} at {level}"),
    }
}
