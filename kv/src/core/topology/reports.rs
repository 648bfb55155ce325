//! A member tells that it has done its part of a change, and one that left asks until it may end.

use super::state::{Joint, Standing, Topology};
use crate::core::{
    env::{TopologyEnv, TopologyTimer},
    message::TopologyBody,
    types::{Epoch, NodeId},
};

/// Members that are told at a time that this one has done its part.
const REPORTED_TO: usize = 3;
impl Topology {
    pub(super) fn shard_synced(&mut self, shard: u16, epoch: Epoch, env: &mut impl TopologyEnv) {
        let Standing::Joint(joint) = &mut self.standing else { return };
        if epoch != self.ring.epoch() {
            return;
        }
        joint.shards_done.insert(shard);
        let is_reporter = joint.reporters.contains(&self.config.node);
        let all = joint.shards_done.len() == usize::from(self.config.shards);
        if all && is_reporter && joint.reports.is_none() {
            joint.reports = Some(0);
            joint.synced.insert(self.config.node);
            self.report(env);
        }
    }

    /// Tells the next few members that this one has done its part: one of them proposes the final ring.
    /// Who is no member asks them for their ring, until a majority has the one that leaves it out.
    pub(super) fn report(&mut self, env: &mut impl TopologyEnv) {
        if self.is_released() {
            return;
        }
        let (reports, says) = match &mut self.standing {
            Standing::Joint(Joint { reports: Some(reports), .. }) => {
                (reports, TopologyBody::Synced)
            }
            Standing::Out(out) => (&mut out.reports, TopologyBody::RingRequest),
            Standing::Joint(Joint { reports: None, .. }) | Standing::Settled => return,
        };
        let first = *reports * REPORTED_TO;
        *reports = reports.wrapping_add(1);
        let me = self.config.node;
        let all: Vec<NodeId> = self.ring.members().keys().copied().collect();
        for turn in 0..REPORTED_TO.min(all.len()) {
            let to = all[(first + turn) % all.len()];
            if to != me {
                self.send(to, says.clone(), env);
            }
        }
        if !self.reporting {
            self.reporting = true;
            env.set_timer(TopologyTimer::Report, self.config.report_every);
        }
    }
}
