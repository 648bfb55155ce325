//! The faults of a run: each begins, and ends in time or when the run heals.

use super::{Phase, Run};
use crate::{
    fault::FaultKind,
    history::Outcome,
    log::Event,
    operator::Operator as _,
    property::Judged,
    tally::Topic,
    world::{Ending, Wake},
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
        self.apply(place, true);
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
                self.apply(place, false);
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

    fn apply(&mut self, place: usize, on: bool) {
        let sign = if on { 1 } else { -1 };
        match &self.scenario.faults[place].kind {
            FaultKind::Crash(nodes) => self.crash_or_restart(nodes, on),
            FaultKind::CrashAll => {
                if on {
                    let all: Vec<u32> = self.world.hosts.nodes().collect();
                    self.all_crashed.push((place, all));
                }
                let of = |(of, _): &(usize, Vec<u32>)| *of == place;
                let nodes = self.all_crashed.iter().find(|all| of(all)).map(|(_, all)| all.clone());
                self.crash_or_restart(&nodes.unwrap_or_default(), on);
            }
            FaultKind::Rot(node) => match on {
                true => {
                    let is_closed = self.world.close_own(*node);
                    self.crash(*node, Ending::Process);
                    if is_closed {
                        self.world.rot(*node);
                    }
                }
                false => self.world.restart(*node),
            },
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

    fn crash_or_restart(&mut self, nodes: &[u32], crash: bool) {
        for node in nodes.iter().copied() {
            match crash {
                true => self.crash(node, Ending::Power),
                false => self.world.restart(node),
            }
        }
    }

    /// A node found that its journal is damaged: it never starts again.
    pub(super) fn damaged(&mut self, node: u32, readable: Vec<S::Entry>) {
        self.operator.damaged(&mut self.world, node, readable);
        self.die(node);
    }

    /// A process ended by itself. Another one takes its place after a while.
    pub(super) fn ended(&mut self, node: u32, ending: Ending) {
        self.crash(node, ending);
        let at = self.world.at() + self.world.stays_away_us();
        self.world.wake(at, Wake::Restart(node));
    }

    /// Whether a partition is on.
    pub(super) fn is_parted(&self) -> bool {
        let active = self.scenario.faults.iter().zip(&self.active_faults);
        active.filter(|(_, active)| **active).any(|(fault, _)| fault.kind.is_partition())
    }

    /// A node dies for good, and its disk is lost.
    pub(super) fn die(&mut self, node: u32) {
        self.crash(node, Ending::Power);
        self.operator.died(&mut self.world, node);
        self.world.retire(node);
    }

    pub(super) fn crash(&mut self, node: u32, ending: Ending) {
        self.world.crash(node, ending);
        let asked = |place: &usize| self.history[*place].node == node;
        for place in self.waiting.iter().copied().filter(asked).collect::<Vec<_>>() {
            self.end(place, Outcome::Unknown("node crashed"));
        }
    }
}

fn pairs<'a>(from: &'a [u32], to: &'a [u32]) -> impl Iterator<Item = (u32, u32)> + 'a {
    from.iter().flat_map(|one| to.iter().map(|other| (*one, *other))).filter(|(a, b)| a != b)
}
