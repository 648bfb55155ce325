//! After a pause of the node: whether its ring is still the newest. Before a majority has said so it coordinates
//! nothing.

use std::collections::BTreeSet;

use super::state::{Asked, Topology};
use crate::core::{
    env::{Note, TopologyEnv, TopologyTimer},
    message::TopologyBody,
    types::NodeId,
};

impl Topology {
    /// The node stood still for a while.
    pub(super) fn paused(&mut self, era: u64, env: &mut impl TopologyEnv) {
        self.asked = Some(Asked { era, agree: BTreeSet::new() });
        self.ask_anew(env);
    }

    /// What was said of another ring does not count.
    pub(super) fn ask_anew(&mut self, env: &mut impl TopologyEnv) {
        if let Some(asked) = &mut self.asked {
            asked.agree = BTreeSet::from([self.config.node]);
            self.ask_if_newest(env);
        }
    }

    /// Asks the members that have not said yet. One that knows a newer ring sends it; a node that is no member
    /// any more asks nobody, and so never coordinates again.
    pub(super) fn ask_if_newest(&mut self, env: &mut impl TopologyEnv) {
        let Some(asked) = &self.asked else { return };
        if !self.is_member() {
            return;
        }
        let (era, epoch) = (asked.era, self.ring.epoch());
        if self.ring.is_majority(&asked.agree) {
            self.asked = None;
            env.note(Note::RingConfirmed);
            env.confirmed(era, epoch);
            return;
        }
        let silent = self.ring.members().keys().filter(|node| !asked.agree.contains(node));
        for node in silent {
            self.send(*node, TopologyBody::IsNewest { era }, env);
        }
        if !self.confirming {
            self.confirming = true;
            env.set_timer(TopologyTimer::Confirm, self.config.fetch_every);
        }
    }

    /// A member says, at our epoch, that it knows no newer ring.
    pub(super) fn is_newest(&mut self, from: NodeId, era: u64, env: &mut impl TopologyEnv) {
        let Some(asked) = self.asked.as_mut().filter(|asked| asked.era == era) else { return };
        asked.agree.insert(from);
        if self.ring.is_majority(&asked.agree) {
            self.ask_if_newest(env);
        }
    }
}
