//! Where clients reach each member. One that joins says so when it asks for its place; the first members of a
//! cluster are known by their peer addresses only, and so what they say in their greetings is put into the ring
//! by a change of its own, for all that are there at once.

use std::{sync::Arc, time::Duration};

use tracing::debug;

use super::state::Server;
use crate::core::{ring::Change, types::NodeId};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long members that are not there yet are waited for: one change is enough for all.
const PATIENCE: Duration = Duration::from_secs(3);

/// Sees to it that the ring says where clients reach the members, for ever.
pub async fn announce(server: Arc<Server>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let changes = due(&server);
        if !changes.is_empty() {
            debug!("asking for {changes:?}");
        }
        for change in changes {
            // One that goes to another cluster says it there.
            let _ = server.change_and_stay(&change);
        }
    }
}

/// What the ring does not say, or says wrongly, and this node is to ask for.
fn due(server: &Server) -> Vec<Change> {
    let (ring, me) = (server.node.ring(), server.node.id());
    let members = ring.members();
    if ring.is_joint() || !members.contains_key(&me) || server.may_have_grown() {
        return Vec::new();
    }
    let there: Vec<NodeId> = members.keys().copied().filter(|id| server.links.is_up(*id)).collect();
    // One of them asks for all, and only where a majority could decide.
    let is_first = there.iter().all(|id| *id > me);
    if !is_first || there.len() < members.len() / 2 {
        return Vec::new();
    }
    let said = server.links.clients(&ring);
    if said.len() < members.len() && server.started.elapsed() < PATIENCE {
        return Vec::new();
    }
    let changes = said.into_iter().map(|(id, client)| Change::Client(id, client));
    changes.filter(|change| !ring.reflects(change)).collect()
}
