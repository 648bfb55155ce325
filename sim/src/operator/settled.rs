//! When the store has converged, and what it is asked then.

use std::{collections::BTreeSet, sync::Arc};

use harness::world::host::Hosts;
use kv::core::{detector::Health, quorum::Level, ring::Ring, types::NodeId};

use super::StoreOperator;
use crate::{
    evidence,
    scenario::Action,
    store::{Done, Store, inspect},
};

/// Keys that the auditor reads at most.
const AUDITED_KEYS: usize = 12;

impl StoreOperator {
    /// Why the cluster has not converged, if it has not.
    pub(super) fn what_is_missing(&mut self, hosts: &Hosts<Store>) -> Option<String> {
        let seems_dead = self.who_seems_dead(hosts);
        let ring = self.current();
        if !self.is_done() {
            let joint = if ring.is_joint() { "joint" } else { "not the last" };
            return Some(format!("the ring {} is {joint}", ring.epoch()));
        }
        for node in ring.members().keys() {
            match inspect(hosts, *node, |node| (node.oldest_epoch(), node.moving())) {
                Some((epoch, _)) if epoch != ring.epoch() => {
                    return Some(format!("{node} is still at {epoch}"));
                }
                Some((_, (0, 0))) => {}
                Some((_, (pulls, gives))) => {
                    return Some(format!("{node} has {pulls} slots to pull, {gives} to hand over"));
                }
                None => return Some(format!("{node} does not run")),
            }
        }
        let stranded = self.stranded(hosts);
        let mut left = self.left_and_running(hosts);
        if let Some((node, _)) = left.find(|(node, _)| !stranded.contains(node)) {
            return Some(format!("{node} is no member, and was not released"));
        }
        seems_dead.or_else(|| evidence::difference(hosts, ring))
    }

    /// Nodes that run and are no members any more, with the rings that they know.
    fn left_and_running<'a>(
        &'a self,
        hosts: &'a Hosts<Store>,
    ) -> impl Iterator<Item = (NodeId, Arc<Ring>)> + 'a {
        let members = self.current().members();
        let rings = hosts.nodes().map(NodeId).filter(|node| !members.contains_key(node));
        rings.filter_map(|node| inspect(hosts, node, |n| n.ring()).map(|ring| (node, ring)))
    }

    /// Those of them that heard of nothing until all whom they knew had gone: they find nobody any more, and
    /// what they alone hold is lost.
    pub(super) fn stranded(&self, hosts: &Hosts<Store>) -> BTreeSet<NodeId> {
        let runs = |node: &NodeId| hosts.node(node.0).is_some();
        let is_alone = |(node, ring): &(NodeId, Arc<Ring>)| {
            !ring.members().keys().any(|other| other != node && runs(other))
        };
        self.left_and_running(hosts).filter(is_alone).map(|(node, _)| node).collect()
    }

    /// A member that another one took for dead or suspect whenever it was looked at in this phase, if they look
    /// at each other at all. That nobody suspects anybody at a moment is not to be had from many nodes on a
    /// network that loses messages.
    fn who_seems_dead(&mut self, hosts: &Hosts<Store>) -> Option<String> {
        if !self.detects {
            return None;
        }
        let members: Vec<NodeId> = self.current().members().keys().copied().collect();
        let is_missed = |pair: &(NodeId, NodeId)| !self.seen_alive.contains(pair);
        let mut found = BTreeSet::new();
        let mut missed = None;
        for node in &members {
            if !members.iter().any(|other| other != node && is_missed(&(*node, *other))) {
                continue;
            }
            let health = inspect(hosts, *node, |node| node.health()).unwrap_or_default();
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
    pub(super) fn questions(&self, history: &[Done]) -> Vec<(u32, Action)> {
        let members: Vec<NodeId> = self.current().members().keys().copied().collect();
        let put = |node: &NodeId| {
            let value = format!("served by {node}");
            (node.0, Action::Put("audit".into(), value, Level::Quorum))
        };
        let mut questions: Vec<(u32, Action)> = members.iter().map(put).collect();
        for key in evidence::keys(history).into_iter().take(AUDITED_KEYS) {
            for node in &members {
                let level = Level::EVERY[node.0 as usize % Level::EVERY.len()];
                questions.push((node.0, Action::Get(key.clone(), level)));
            }
        }
        questions
    }
}
