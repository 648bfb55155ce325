//! The faults of a run: each begins, and ends in time or when the run heals.

use super::{Phase, Run};
use crate::{
    fault::FaultKind, history::Outcome, log::Event, operator::Operator as _, property::Judged,
    tally::Topic, world::Wake,
};

impl<S: Judged> Run<'_, S> {
    pub(super) fn fault_begins(&mut self, place: usize) {
        let fault = &self.scenario.faults[place];
        if self.phase != Phase::Load {
            return;
        }
        self.active_faults[place] = true;
        self.world.tally.add(Topic::Fault, fault.kind.name());
        self.world.record(&Event::FaultBegan(&fault.kind));
        self.apply(&fault.kind, true);
        self.operator.fault_began(&mut self.world, &fault.kind);
        if let FaultKind::Flapping(_, period_ms) = fault.kind {
            self.world.wake(self.world.at() + period_ms * 1_000, Wake::Flap(place, false));
        }
        let end = self.world.at() + fault.for_ms * 1_000;
        self.world.wake(end, Wake::FaultEnds(place));
    }

    pub(super) fn fault_ends(&mut self, place: usize) {
        let kind = &self.scenario.faults[place].kind;
        if std::mem::replace(&mut self.active_faults[place], false) {
            self.world.record(&Event::FaultEnded(kind));
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
            self.world.network.isolate(side, on);
            self.flapped_off[place] = !on;
            self.flapped[place] |= !on;
            self.world.wake(self.world.at() + period_ms * 1_000, Wake::Flap(place, !on));
        }
    }

    fn apply(&mut self, kind: &FaultKind, on: bool) {
        let sign = if on { 1 } else { -1 };
        match kind {
            FaultKind::Crash(nodes) => {
                for node in nodes.iter().copied() {
                    match on {
                        true => self.crash(node),
                        false => self.world.restart(node),
                    }
                }
            }
            FaultKind::Pause(node) => self.world.pause(*node, on),
            FaultKind::Stall(node) => {
                match on {
                    true => self.diverted.fill(Some(*node)),
                    false => {
                        let waits = self.diverted.iter_mut().filter(|to| **to == Some(*node));
                        waits.for_each(|to| *to = None);
                    }
                }
                self.world.pause(*node, on);
            }
            FaultKind::Slow(node, by_us) => {
                let by_us = i64::try_from(*by_us).unwrap_or(i64::MAX);
                self.world.network.slow_down(*node, sign * by_us);
            }
            FaultKind::Partition(side) | FaultKind::Flapping(side, _) => {
                self.world.network.isolate(side, on);
            }
            FaultKind::OneWay(from, to) => {
                for (from, to) in pairs(from, to) {
                    self.world.network.cut(from, to, on);
                }
            }
            FaultKind::Storm { loss, duplicate, reorder } => {
                let by = |per_mille: u32| sign * i64::from(per_mille);
                self.world.network.storm(by(*loss), by(*duplicate), by(*reorder));
            }
            FaultKind::ClockJump(node, by_us) => self.world.jump(*node, sign * by_us),
        }
    }

    /// Whether a partition is on.
    pub(super) fn is_parted(&self) -> bool {
        let active = self.scenario.faults.iter().zip(&self.active_faults);
        active.filter(|(_, active)| **active).any(|(fault, _)| fault.kind.is_partition())
    }

    /// A node dies for good, and its disk is lost.
    pub(super) fn die(&mut self, node: u32) {
        self.crash(node);
        self.operator.died(&mut self.world, node);
        self.world.retire(node);
    }

    pub(super) fn crash(&mut self, node: u32) {
        self.world.crash(node);
        let asked = |place: &usize| self.history[*place].node == node;
        for place in self.waiting.iter().copied().filter(asked).collect::<Vec<_>>() {
            self.end(place, Outcome::Unknown("node crashed"));
        }
    }
}

fn pairs<'a>(from: &'a [u32], to: &'a [u32]) -> impl Iterator<Item = (u32, u32)> + 'a {
    from.iter().flat_map(|one| to.iter().map(|other| (*one, *other))).filter(|(a, b)| a != b)
}
