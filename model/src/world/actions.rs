//! What may happen next.

use std::collections::BTreeSet;

use kv::{
    core::{
        env::{ShardTimer, TopologyTimer},
        ring::Ring,
        types::NodeId,
    },
    node::Alarm,
};
use stateright::actor::Id;

use super::{Action, ClusterModel, Envelope, ModelState, hands_over};
use crate::actor::node_of;

impl ClusterModel {
    /// Whether a node may still crash.
    pub(super) fn may_crash(&self, world: &ModelState, node: NodeId) -> bool {
        let frail = &self.setup.frail;
        world.budget.crashes > 0 && (frail.is_empty() || frail.contains(&node))
    }

    /// Whether a node may make another round of pulls and offers.
    fn may_move_on(&self, world: &ModelState, node: NodeId) -> bool {
        let is_over = || world.network.iter().all(|envelope| !hands_over(&envelope.message.body));
        self.setup.patient.is_none_or(|patient| patient == node && is_over())
    }

    /// The timers that may fire: at any time while the budget lasts, and whenever nothing else happens.
    pub(super) fn timer_actions(&self, world: &ModelState, actions: &mut Vec<Action>) {
        let is_still = world.network.is_empty();
        let is_served = self.is_served(world);
        for (at, timers) in world.timers.iter().enumerate() {
            let node = node_of(Id::from(at));
            for timer in timers {
                let may = match timer {
                    Alarm::Shard(_, timer) => match timer {
                        ShardTimer::Hedge => world.budget.hedges > 0,
                        ShardTimer::Timeout => world.budget.timeouts > 0 || is_still,
                        ShardTimer::Sync => world.budget.syncs > 0 && !is_served,
                        ShardTimer::Pull => world.budget.pulls > 0 && self.may_move_on(world, node),
                        ShardTimer::Probe => false,
                    },
                    Alarm::Topology(timer) => match timer {
                        TopologyTimer::Propose => world.budget.proposals > 0,
                        TopologyTimer::Fetch | TopologyTimer::Confirm | TopologyTimer::Report => {
                            false
                        }
                    },
                    Alarm::Detector => false,
                };
                let is_of_request =
                    matches!(timer, Alarm::Shard(_, ShardTimer::Hedge | ShardTimer::Timeout));
                let is_idle = is_of_request && world.nodes[at].shard.in_flight() == 0;
                if may && !is_idle {
                    actions.push(Action::Fire(node, *timer));
                }
            }
        }
        if is_still && is_served && world.rounds < self.rounds() {
            let peers = self.setup.clocks.len() - 1;
            let node = node_of(Id::from(world.rounds / peers));
            actions.push(Action::Fire(node, Alarm::Shard(0, ShardTimer::Sync)));
        }
    }

    pub(super) fn ring_actions(&self, world: &ModelState, actions: &mut Vec<Action>) {
        let changes = (0..world.changes.len()).filter(|at| !world.changes[*at]);
        actions.extend(changes.map(Action::Change));
        if let Some(next) = self.rings.get(world.decided)
            && self.may_decide(world, next)
        {
            actions.push(Action::Decide);
        }
        for (at, node) in world.nodes.iter().enumerate() {
            let id = node_of(Id::from(at));
            if !self.setup.dead.contains(&id) {
                let epoch = node.topology.ring().epoch();
                let newer = (0..world.decided).filter(|at| self.rings[*at].epoch() > epoch);
                actions.extend(newer.map(|ring| Action::Learn(id, ring)));
            }
        }
    }

    /// A joint ring becomes final once all have reported who must.
    pub(super) fn may_decide(&self, world: &ModelState, next: &Ring) -> bool {
        let last = &self.rings[world.decided - 1];
        let has_synced = |node: &NodeId| {
            let topology = &world.nodes[node.0 as usize - 1].topology;
            topology.ring().epoch() == last.epoch() && topology.has_synced(*node)
        };
        let is_final = last.after(&BTreeSet::new(), true).is_some_and(|ring| ring == *next);
        !is_final || last.reporters().iter().all(has_synced)
    }

    /// A message of a later epoch than its receiver's waits until that one has learned of the ring: in
    /// truth it is dropped, as is seen here, and sent again.
    pub(super) fn can_arrive(&self, world: &ModelState, envelope: &Envelope) -> bool {
        let node = &world.nodes[envelope.to.0 as usize - 1];
        self.rings.len() == 1
            || envelope.message.epoch <= node.shard.epoch()
            || !self.is_ignored(world, envelope, |one, other| one.shard == other.shard)
    }

    pub(super) fn spend(&self, world: &mut ModelState, action: &Action) {
        let is_still = world.network.is_empty();
        let is_served = self.is_served(world);
        let budget = &mut world.budget;
        match action {
            Action::Ask(_)
            | Action::Deliver(_)
            | Action::Decide
            | Action::Learn(..)
            | Action::Change(_) => {}
            Action::Lose(_) => budget.losses -= 1,
            Action::Double(_) => budget.doubles -= 1,
            Action::Crash(_) => budget.crashes -= 1,
            Action::Fire(_, Alarm::Shard(_, timer)) => match timer {
                ShardTimer::Hedge => budget.hedges -= 1,
                ShardTimer::Timeout if !is_still => budget.timeouts -= 1,
                ShardTimer::Sync if is_served => world.rounds += 1,
                ShardTimer::Sync => budget.syncs -= 1,
                ShardTimer::Pull => budget.pulls -= 1,
                ShardTimer::Timeout | ShardTimer::Probe => {}
            },
            Action::Fire(_, Alarm::Topology(TopologyTimer::Propose)) => budget.proposals -= 1,
            Action::Fire(_, Alarm::Topology(_) | Alarm::Detector) => {}
        }
    }
}
