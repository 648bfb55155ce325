//! A shard's look at the clocks of its peers.

use super::state::Shard;
use crate::core::{
    clock::ClockGuard,
    env::Env,
    message::ShardBody,
    ring::{Member, MemberState},
    time::{Micros, Timestamp},
    types::NodeId,
};

impl Shard {
    /// How many other members there are. One that is still joining may not be there yet.
    pub(super) fn peers(&self) -> usize {
        let is_peer = |(node, member): &(&NodeId, &Member)| {
            **node != self.config.node && member.state != MemberState::Joining
        };
        self.ring.members().iter().filter(is_peer).count()
    }

    /// What was measured of the peers' clocks.
    pub fn clocks(&self) -> &ClockGuard {
        &self.guard
    }

    /// Whether enough of the peers' clocks were measured to judge this node's.
    pub fn has_measured_clocks(&self) -> bool {
        self.guard.has_measured(self.peers())
    }

    /// While too few clocks are measured no write is coordinated: that should not last a period.
    pub(super) fn probe_after(&self) -> Micros {
        match self.has_measured_clocks() {
            true => self.config.probe_every,
            false => Micros((self.config.probe_every.0 / 20).max(1_000)),
        }
    }

    /// Asks the next few peers for the time.
    pub(super) fn probe(&mut self, env: &mut impl Env) {
        const AT_ONCE: usize = 6;
        let me = self.config.node;
        let peers: Vec<NodeId> =
            self.ring.members().keys().copied().filter(|node| *node != me).collect();
        let shard = self.config.shard;
        for turn in 0..AT_ONCE.min(peers.len()) {
            let peer = peers[(self.probe_round + turn) % peers.len()];
            self.send(peer, ShardBody::Probe { shard, sent: env.uptime() }, env);
        }
        self.probe_round = self.probe_round.wrapping_add(AT_ONCE);
    }

    pub(super) fn probed(
        &mut self,
        peer: NodeId,
        sent: Micros,
        now: Timestamp,
        env: &mut impl Env,
    ) {
        self.guard.measured(peer, sent, now, env);
        let round_trip = env.uptime().0.saturating_sub(sent.0).max(1);
        self.round_trip = match self.round_trip {
            0 => round_trip,
            smoothed => (7 * smoothed + round_trip) / 8,
        };
    }
}
