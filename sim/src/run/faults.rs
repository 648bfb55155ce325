//! The faults of a run: each begins, and ends in time or when the run heals.

use kv::core::{ring::MemberState, types::NodeId};

use super::{Phase, Run};
use crate::{history::Outcome, log::Event, queue::Wake, scenario::FaultKind, tally::Topic};

impl Run<'_> {
    pub(super) fn fault_begins(&mut self, place: usize) {
        let fault = &self.scenario.faults[place];
        if self.phase != Phase::Load {
            return;
        }
        self.active_faults[place] = true;
        self.cluster.tally.add(Topic::Fault, fault.kind.name());
        self.cluster.log.record(self.cluster.at(), &Event::FaultBegan(&fault.kind));
        self.apply(&fault.kind, true);
        if self.operator.current().is_joint() {
            self.cluster.tally.add(Topic::Event, "a fault began while the ring was joint");
        }
        if let FaultKind::Flapping(_, period_ms) = fault.kind {
            self.cluster.wake(self.cluster.at() + period_ms * 1_000, Wake::Flap(place, false));
        }
        let end = self.cluster.at() + fault.for_ms * 1_000;
        self.cluster.wake(end, Wake::FaultEnds(place));
    }

    pub(super) fn fault_ends(&mut self, place: usize) {
        let kind = &self.scenario.faults[place].kind;
        if std::mem::replace(&mut self.active_faults[place], false) {
            self.cluster.log.record(self.cluster.at(), &Event::FaultEnded(kind));
            if !self.flapped_off[place] {
                self.apply(kind, false);
            }
        }
    }

    pub(super) fn flap(&mut self, place: usize, on: bool) {
        if !self.active_faults[place] {
            return;
        }
        if let FaultKind::Flapping(side, period_ms) = &self.scenario.faults[place].kind {
            self.cluster.network.isolate(side, on);
            self.flapped_off[place] = !on;
            self.flapped[place] |= !on;
            self.cluster.wake(self.cluster.at() + period_ms * 1_000, Wake::Flap(place, !on));
        }
    }

    pub(super) fn apply(&mut self, kind: &FaultKind, on: bool) {
        let sign = if on { 1 } else { -1 };
        match kind {
            FaultKind::Crash(nodes) => {
                for node in nodes.iter().copied().map(NodeId) {
                    match on {
                        true => self.crash(node),
                        false => self.cluster.restart(node),
                    }
                }
            }
            FaultKind::Pause(node) => self.cluster.pause(NodeId(*node), on),
            FaultKind::Stall(node) => {
                let node = NodeId(*node);
                match on {
                    true => self.diverted.fill(Some(node)),
                    false => {
                        let waits = self.diverted.iter_mut().filter(|to| **to == Some(node));
                        waits.for_each(|to| *to = None);
                    }
                }
                self.cluster.pause(node, on);
            }
            FaultKind::Slow(node, by_us) => {
                let by_us = i64::try_from(*by_us).unwrap_or(i64::MAX);
                self.cluster.network.slow_down(*node, sign * by_us);
            }
            FaultKind::Partition(side) | FaultKind::Flapping(side, _) => {
                self.cluster.network.isolate(side, on);
            }
            FaultKind::OneWay(from, to) => {
                for (from, to) in pairs(from, to) {
                    self.cluster.network.cut(from, to, on);
                }
            }
            FaultKind::Storm { loss, duplicate, reorder } => {
                let by = |per_mille: u32| sign * i64::from(per_mille);
                self.cluster.network.storm(by(*loss), by(*duplicate), by(*reorder));
            }
            FaultKind::ClockJump(node, by_us) => self.cluster.jump(NodeId(*node), sign * by_us),
        }
    }

    /// A node dies for good.
    pub(super) fn die(&mut self, node: NodeId) {
        self.crash(node);
        let ring = self.operator.current();
        if let Some(member) = ring.members().get(&node) {
            let name = match member.state {
                MemberState::Joining => "a joiner died for good",
                _ if ring.members().len() == 3 => "one of three died for good",
                _ => "a member died for good",
            };
            self.cluster.tally.add(Topic::Event, name);
        }
        self.lose_disk(node);
        self.cluster.retire(node);
    }

    /// What a node has for certain is gone.
    pub(super) fn lose_disk(&mut self, node: NodeId) {
        let records = self.cluster.durable_records(node);
        let versions = records.into_iter().map(|(key, record)| (key, record.version));
        self.disks_lost.push(versions.collect());
    }

    pub(super) fn crash(&mut self, node: NodeId) {
        self.cluster.crash(node);
        let asked = |place: &usize| self.history[*place].node == node;
        for place in self.waiting.iter().copied().filter(asked).collect::<Vec<_>>() {
            self.end(place, Outcome::Unknown("node crashed"));
        }
    }
}

fn pairs<'a>(from: &'a [u32], to: &'a [u32]) -> impl Iterator<Item = (u32, u32)> + 'a {
    from.iter().flat_map(|one| to.iter().map(|other| (*one, *other))).filter(|(a, b)| a != b)
}
