//! Who a process is.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use tracing::info;

use crate::core::{ring::Ring, types::NodeId};

/// Who a process is in a life.
#[derive(Clone, Debug)]
pub struct Identity {
    pub ring: Arc<Ring>,
    pub me: NodeId,
    pub instance: u64,
}

/// Who a process is in a ring that it joined.
pub fn identity(ring: Arc<Ring>, instance: u64) -> Result<Identity> {
    let me = ring.members().iter().find(|(_, member)| member.instance == instance);
    let (me, _) = me.ok_or_else(|| anyhow!("the ring that came has no place for this process"))?;
    info!("a member of the cluster {} as {me}", ring.cluster());
    Ok(Identity { me: *me, ring, instance })
}

/// A number that nobody can guess: the standard library seeds its hash maps so.
pub fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    // Zero means: no process.
    RandomState::new().hash_one(std::process::id()).max(1)
}

/// A seed for the stores of a process, so that nobody can choose keys that collide.
pub fn secret_seed() -> u64 {
    random()
}
