//! Nodes that start, stop, stand still, and whose clocks jump.

use crate::{
    log::Event,
    scenario::Setup as _,
    system::Effects,
    tally::Sometimes,
    trace::Given,
    watch::{Watch as _, Watched},
    world::{clock::NodeClock, cluster::World, host::Host, own::Ending},
};

impl<S: Watched> World<S> {
    /// A further process starts, with these entries in its journal if it brings one along. Numbers below its own that were not used are those of processes that never
    /// started.
    pub fn join(&mut self, node: u32, birth: S::Birth, head_start: Vec<S::Entry>) {
        while self.hosts.0.len() < node as usize {
            let clocks = self.setup.clocks();
            let turn = self.hosts.0.len() % clocks.len().max(1);
            let clock = clocks.get(turn).copied().unwrap_or_default();
            self.hosts.0.push(Host::new(NodeClock::new(clock), self.setup.disks()));
        }
        if let Some(host) = self.host(node) {
            host.birth = Some(birth);
        }
        self.begin_own(node, head_start);
        self.start(node);
    }

    /// A node stops, and is never started again.
    pub fn retire(&mut self, node: u32) {
        self.crash(node, Ending::Power);
        if let Some(host) = self.host(node) {
            host.birth = None;
        }
    }

    /// Starts a node: anew, or on what its journal kept.
    pub(crate) fn start(&mut self, id: u32) {
        let (at, setup) = (self.at, self.setup.clone());
        let Some(host) = self.host(id) else { return };
        let Some(birth) = host.birth.clone() else { return };
        if host.node.is_some() || host.down > 0 {
            return;
        }
        let own = host.own.is_some();
        let opened = if own { self.open_own(id) } else { None };
        let Some(host) = self.host(id).filter(|_| own == opened.is_some()) else { return };
        host.clock.boot(at);
        host.starts += 1;
        host.looked = at;
        let kept = {
            let mut shared = host.io.0.borrow_mut();
            shared.now_us = host.clock.wall_us(at);
            shared.uptime_us = host.clock.uptime_us(at);
            opened.unwrap_or_else(|| shared.journal.since(0).to_vec())
        };
        let entries_before = host.io.0.borrow().journal.len();
        host.node = Some(S::start(&setup, id, birth, kept, host.io.clone()));
        self.record(&Event::Started(id));
        if entries_before > 0 {
            self.tally.sometimes(Sometimes::Restarted);
        }
        self.look(|watch, scene| watch.started(scene, id));
        self.take_effects(id, entries_before, Some(Given::Start));
    }

    /// A node stops at once: what was not durable is lost, or may be, where it has a journal of its own.
    pub(crate) fn crash(&mut self, id: u32, ending: Ending) {
        self.stop_own(id, ending);
        let Some(host) = self.host(id) else { return };
        host.down += 1;
        host.backlog.clear();
        let (ran, own) = (host.node.take().is_some(), host.own.is_some());
        let lost = ran.then(|| {
            let mut shared = host.io.0.borrow_mut();
            shared.effects = Effects::default();
            (shared.now_us, shared.uptime_us) = (0, 0);
            if own { shared.journal.stop() } else { shared.journal.crash() }
        });
        if let Some(waiting) = &mut self.waiting {
            waiting.stopped(id);
        }
        let Some(lost) = lost else { return };
        self.record(&Event::Stopped(id, lost));
        let kept = self.hosts.get(id).map_or(0, |host| host.io.0.borrow().journal.len());
        self.trace_step(id, Given::Crash, &Effects::default(), kept);
        if lost > 0 {
            self.tally.sometimes(Sometimes::CrashLost);
        }
    }

    /// One fault less keeps a node down.
    pub(crate) fn restart(&mut self, id: u32) {
        let Some(host) = self.host(id) else { return };
        host.down = host.down.saturating_sub(1);
        self.start(id);
    }

    /// One fault more, or less, keeps a node from doing anything.
    pub(crate) fn pause(&mut self, id: u32, on: bool) {
        let at = self.at;
        if on && self.host(id).is_some_and(|host| host.paused == 0) {
            // Up to now it looked at its clocks, and in the pause it does not.
            self.step(id, None);
        }
        let Some(host) = self.host(id) else { return };
        host.paused = if on { host.paused + 1 } else { host.paused.saturating_sub(1) };
        if host.paused == 0 {
            host.looked = at;
            for due in std::mem::take(&mut host.backlog) {
                self.act(due);
            }
        }
    }

    /// A node's wall clock jumps.
    pub(crate) fn jump(&mut self, id: u32, by_us: i64) {
        if let Some(host) = self.host(id) {
            host.clock.jump(by_us);
        }
    }
}
