//! What comes after the load: all faults are healed, the cluster converges, and then has to serve.

use std::{collections::BTreeSet, sync::Arc};

use kv::core::{detector::Health, quorum::Level, ring::Ring, types::NodeId};

use super::{AUDITOR, LOOK_EVERY_US, Phase, Run};
use crate::{
    check::{self, Violation},
    history::Outcome,
    queue::Wake,
    scenario::Action,
};

/// Keys that the auditor reads at most.
const AUDITED_KEYS: usize = 12;

impl Run<'_> {
    pub(super) fn heal(&mut self) {
        self.enter(Phase::Converge, "heal");
        for place in 0..self.active_faults.len() {
            self.fault_ends(place);
        }
        self.cluster.network.heal();
        self.cluster.withheld = None;
        self.cluster.wake(self.cluster.at() + LOOK_EVERY_US, Wake::Phase);
    }

    /// When the phase after healing must be over. Each operation of the audit gets as long, and so does
    /// what it wrote.
    pub(super) fn deadline(&self) -> u64 {
        let since = match self.phase {
            Phase::Load | Phase::Converge => self.scenario.heal_at_ms * 1_000,
            Phase::Serve | Phase::Settle | Phase::Over => self.audit_since,
        };
        since + self.scenario.converge_within_ms * 1_000
    }

    pub(super) fn look_for_convergence(&mut self) {
        let missing = self.what_is_missing();
        match missing {
            None => {
                self.cluster.check_everything();
                match self.phase {
                    Phase::Settle => self.enter(Phase::Over, "over"),
                    Phase::Load | Phase::Converge | Phase::Serve | Phase::Over => {
                        self.begin_serving();
                    }
                }
            }
            Some(_) if self.cluster.at() < self.deadline() => {
                self.cluster.wake(self.cluster.at() + LOOK_EVERY_US, Wake::Phase);
            }
            Some(what) => {
                let within = self.scenario.converge_within_ms;
                let what = format!("{within} ms after all faults were healed, {what}");
                self.fail(Violation::new("P1", what));
            }
        }
    }

    /// Why the cluster has not converged, if it has not.
    pub(super) fn what_is_missing(&mut self) -> Option<String> {
        let seems_dead = self.who_seems_dead();
        if !self.waiting.is_empty() {
            return Some(format!("{} operations were not answered", self.waiting.len()));
        }
        let ring = self.operator.current();
        if !self.operator.is_done() {
            let joint = if ring.is_joint() { "joint" } else { "not the last" };
            return Some(format!("the ring {} is {joint}", ring.epoch()));
        }
        for node in ring.members().keys() {
            match self.cluster.inspect(*node, |node| node.oldest_epoch()) {
                Some(epoch) if epoch == ring.epoch() => {
                    let moving = self.cluster.inspect(*node, |node| node.moving());
                    if let Some((pulls, gives)) = moving.filter(|moving| *moving != (0, 0)) {
                        let what =
                            format!("{node} has {pulls} slots to pull, {gives} to hand over");
                        return Some(what);
                    }
                }
                Some(epoch) => return Some(format!("{node} is still at {epoch}")),
                None => return Some(format!("{node} does not run")),
            }
        }
        let stranded = self.stranded();
        let mut leavers = self.leavers();
        if let Some((node, _)) = leavers.find(|(node, _)| !stranded.contains(node)) {
            return Some(format!("{node} is no member, and was not released"));
        }
        seems_dead.or_else(|| check::p1::difference(&self.cluster, ring))
    }

    /// Nodes that run and are no members any more, with the rings that they know.
    fn leavers(&self) -> impl Iterator<Item = (NodeId, Arc<Ring>)> + '_ {
        let members = self.operator.current().members();
        let rings = self.cluster.nodes().filter(|node| !members.contains_key(node));
        rings.filter_map(|node| self.cluster.inspect(node, |n| n.ring()).map(|ring| (node, ring)))
    }

    /// Those of them that heard of nothing until all whom they knew had gone: they find nobody any more, and
    /// what they alone hold is lost.
    pub(super) fn stranded(&self) -> BTreeSet<NodeId> {
        let runs = |node: &NodeId| self.cluster.inspect(*node, |_| ()).is_some();
        let is_alone = |(node, ring): &(NodeId, Arc<Ring>)| {
            !ring.members().keys().any(|other| other != node && runs(other))
        };
        self.leavers().filter(is_alone).map(|(node, _)| node).collect()
    }

    /// A member that another one took for dead or suspect whenever it was looked at in this phase, if they look
    /// at each other at all. That nobody suspects anybody at a moment is not to be had from many nodes on a
    /// network that loses messages.
    fn who_seems_dead(&mut self) -> Option<String> {
        if self.scenario.cluster.config.detect_every.0 == 0 {
            return None;
        }
        let members: Vec<NodeId> = self.operator.current().members().keys().copied().collect();
        let is_missed = |pair: &(NodeId, NodeId)| !self.seen_alive.contains(pair);
        let mut found = BTreeSet::new();
        let mut missed = None;
        for node in &members {
            if !members.iter().any(|other| other != node && is_missed(&(*node, *other))) {
                continue;
            }
            let health = self.cluster.inspect(*node, |node| node.health()).unwrap_or_default();
            for (other, seems) in health {
                if seems == Health::Alive {
                    found.insert((*node, other));
                } else if missed.is_none() && is_missed(&(*node, other)) {
                    missed = Some(format!("{node} takes {other} for {seems:?}"));
                }
            }
        }
        self.seen_alive.append(&mut found);
        missed
    }

    /// The auditor writes through each node, and reads keys through each node at each level.
    pub(super) fn begin_serving(&mut self) {
        let healed_at = self.scenario.heal_at_ms * 1_000;
        self.converged_us = Some(self.cluster.at().saturating_sub(healed_at));
        self.enter(Phase::Serve, "serve");
        self.audit_since = self.cluster.at();
        let members: Vec<NodeId> = self.operator.current().members().keys().copied().collect();
        for node in members.iter().copied() {
            let value = format!("served by {node}");
            self.audit.push_back((node, Action::Put("audit".into(), value, Level::Quorum)));
        }
        for key in check::keys(&self.history).into_iter().take(AUDITED_KEYS) {
            for node in members.iter().copied() {
                let level = Level::EVERY[node.0 as usize % Level::EVERY.len()];
                self.audit.push_back((node, Action::Get(key.clone(), level)));
            }
        }
        self.go_on_serving();
    }

    pub(super) fn go_on_serving(&mut self) {
        // A change that was being decided when all seemed over may still take a member away.
        let ring = self.operator.current();
        self.audit.retain(|(node, _)| ring.members().contains_key(node));
        match self.audit.front().cloned() {
            Some((node, action)) => {
                let number = self.scenario.operations.len() + self.history.len();
                self.invoke(AUDITOR, node, action, number);
            }
            // What the auditor wrote is to be on all owners too.
            None => {
                self.enter(Phase::Settle, "settle");
                self.cluster.wake(self.cluster.at(), Wake::Phase);
            }
        }
    }

    /// The auditor goes on, or tries again until the time is over.
    pub(super) fn audited(&mut self, place: usize) {
        let done = &self.history[place];
        match &done.outcome {
            Outcome::Written(_) | Outcome::Found(_) => {
                self.audit.pop_front();
                self.audit_since = self.cluster.at();
                self.cluster.wake(self.cluster.at() + 1, Wake::Phase);
            }
            Outcome::Failed(why) | Outcome::Unknown(why) => {
                if self.cluster.at() >= self.deadline() {
                    let node = done.node;
                    let what =
                        format!("after healing {node} does not serve {:?}: {why}", done.action);
                    self.fail(Violation::new("liveness", what));
                    return;
                }
                // A value may be written once only.
                if let Some((_, Action::Put(_, value, _))) = self.audit.front_mut() {
                    value.push('!');
                }
                self.cluster.wake(self.cluster.at() + LOOK_EVERY_US, Wake::Phase);
            }
        }
    }
}
