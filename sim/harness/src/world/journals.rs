//! Nodes that bring journals along: their processes open them, write, sync and clean, and end when the disk fails.

use crate::{
    journal::{Failed, Opened, Sometimes, Unopened},
    log::Event,
    violation::Violation,
    watch::{Watch as _, Watched},
    world::{
        cluster::World,
        own::{DiskFaults, Ending, Own},
        queue::Due,
    },
};

/// A journal to which nothing came for so long says that all is safe, in microseconds.
const REST_US: u64 = 100_000;
/// A process that ended by itself starts again after so many microseconds, from and to.
const AWAY_US: (u64, u64) = (20_000, 1_000_000);

impl<S: Watched> World<S> {
    /// A node's process opens its journal: the entries that are in it. None: it cannot, and ends.
    pub(super) fn open_own(&mut self, id: u32) -> Option<Vec<S::Entry>> {
        let disk = self.host(id)?.own.as_ref()?.disk.clone();
        let is_new = disk.names().is_ok_and(|names| names.is_empty());
        let faults = self.disk_faults.as_mut().filter(|_| !is_new);
        let is_cut = faults.is_some_and(|faults| faults.before_start(&disk));
        let opened = S::open_journal(&self.setup, id, disk.clone(), &mut self.tally);
        disk.go_on();
        match opened {
            Ok(opened) => self.opened_own(id, opened, is_new),
            Err(Unopened::Failed(_)) if is_cut => {
                self.happens(id, Sometimes::CutStart);
                self.ended.push((id, Ending::Power));
                None
            }
            Err(Unopened::Failed(_)) => {
                self.disk_failed(id);
                None
            }
            Err(Unopened::Damaged(_, readable)) if self.is_rotten(id) => {
                self.happens(id, Sometimes::Damaged);
                self.damaged.push((id, readable));
                None
            }
            Err(Unopened::Damaged(what, _)) => {
                let what = format!("the journal of n{id} passes for damaged: {what}");
                self.violated.get_or_insert(Violation::new(S::DURABILITY, what));
                None
            }
        }
    }

    fn is_rotten(&mut self, id: u32) -> bool {
        self.host(id).is_some_and(|host| host.own.as_ref().is_some_and(|own| own.is_rotten))
    }

    /// A node's process ends in order: all that it wrote is safe, and its journal says so. False: it does not run, or
    /// fails at that.
    pub(crate) fn close_own(&mut self, id: u32) -> bool {
        let Self { hosts, tally, .. } = self;
        let host = hosts.get_mut(id).filter(|host| host.node.is_some());
        host.and_then(|host| host.own.as_mut()).is_some_and(|own| own.close(tally).is_ok())
    }

    /// A disk whose process is gone is damaged.
    pub(crate) fn rot(&mut self, id: u32) {
        if let Some((own, faults)) = self.own(id) {
            own.is_rotten = true;
            faults.rot(&own.disk);
        }
    }

    /// A node that starts for the first time begins with these entries.
    pub(super) fn begin_own(&mut self, id: u32, entries: Vec<S::Entry>) {
        if let Some((own, _)) = self.own(id) {
            own.head_start = entries;
        }
    }

    /// What a node is to begin with is made safe before it starts.
    fn write_head_start(&mut self, id: u32) -> Result<Vec<S::Entry>, Failed> {
        let Self { hosts, tally, .. } = self;
        let Some(host) = hosts.get_mut(id) else { return Ok(Vec::new()) };
        let Some(own) = &mut host.own else { return Ok(Vec::new()) };
        let journal = &mut host.io.0.borrow_mut().journal;
        std::mem::take(&mut own.head_start).into_iter().for_each(|entry| _ = journal.append(entry));
        if journal.begin_sync() {
            own.write(journal, tally)?;
            own.sync()?;
            journal.end_sync();
            tally.sometimes(Sometimes::HeadStart);
        }
        Ok(journal.since(0).to_vec())
    }

    /// What was found is held against what was appended.
    fn opened_own(
        &mut self,
        id: u32,
        opened: Opened<S::Entry>,
        is_new: bool,
    ) -> Option<Vec<S::Entry>> {
        let host = self.host(id)?;
        let (entries, upto) = host.own.as_mut()?.opened(opened);
        let durable = host.io.0.borrow().journal.durable();
        if upto < durable {
            let what =
                format!("of n{id}'s journal {durable} entries were safe, and {upto} are there");
            self.violated.get_or_insert(Violation::new(S::DURABILITY, what));
            return None;
        }
        let (before, lost) = host.io.0.borrow_mut().journal.found(upto);
        let says_the_same = S::says_the_same(&entries, host.io.0.borrow().journal.since(0));
        if !says_the_same {
            let what = format!("n{id}'s journal does not say what its first {upto} entries said");
            self.violated.get_or_insert(Violation::new(S::DURABILITY, what));
            return None;
        }
        let place = |n: u64| usize::try_from(n).expect("fits");
        self.look(|watch, scene| watch.synced(scene, id, place(before), place(upto)));
        self.record(&Event::Found(id, upto, lost));
        if is_new {
            let begun = self.write_head_start(id);
            return begun.map_err(|_| self.disk_failed(id)).ok();
        }
        self.tally.sometimes(Sometimes::Started);
        if upto > before {
            self.tally.sometimes(Sometimes::Survived);
        }
        if lost > 0 {
            self.tally.sometimes(Sometimes::Lost);
        }
        Some(entries)
    }

    /// The process that has a node's own journal open ends.
    pub(super) fn stop_own(&mut self, id: u32, ending: Ending) {
        let Self { hosts, disk_faults: Some(faults), .. } = self else { return };
        if let Some(own) = hosts.get_mut(id).and_then(|host| host.own.as_mut()) {
            own.stop(ending, faults.random());
        }
    }

    /// A node's own journal is tidied, and what was appended is written: whether a sync begins.
    pub(super) fn write_own(&mut self, id: u32) -> bool {
        let Self { hosts, tally, .. } = self;
        let Some(host) = hosts.get_mut(id) else { return false };
        let (Some(own), Some(node)) = (&mut host.own, &host.node) else { return false };
        if !host.io.0.borrow().journal.needs_sync() {
            return false;
        }
        let written = own.tidy(S::live_entries(node), tally).and_then(|again| {
            if !again.is_empty() {
                S::append_again(node, again);
            }
            own.write(&host.io.0.borrow().journal, tally)
        });
        match written {
            Ok(()) => host.io.0.borrow_mut().journal.begin_sync(),
            Err(Failed(_)) => {
                self.disk_failed(id);
                false
            }
        }
    }

    /// What was written to a node's own journal is made safe. False: it is not, and the process ends.
    pub(super) fn sync_own(&mut self, id: u32) -> bool {
        let Some((own, faults)) = self.own(id) else { return true };
        faults.before_sync(&own.disk);
        match own.sync() {
            Ok(()) => {
                self.tally.sometimes(Sometimes::Synced);
                true
            }
            Err(Failed(_)) => {
                self.disk_failed(id);
                false
            }
        }
    }

    /// A node's own disk, and what may go wrong with it.
    fn own(&mut self, id: u32) -> Option<(&mut Own<S::Entry>, &mut DiskFaults)> {
        let Self { hosts, disk_faults, .. } = self;
        let host = hosts.get_mut(id)?;
        Some((host.own.as_mut()?, disk_faults.as_mut()?))
    }

    /// Looks later whether a node's own journal has nothing to do.
    pub(super) fn may_rest(&mut self, id: u32) {
        let (at, is_scripted) = (self.at, self.waiting.is_some());
        let Some(host) = self.host(id) else { return };
        let (starts, entries) = (host.starts, host.io.0.borrow().journal.len());
        let is_done = host.io.0.borrow().journal.durable() == entries as u64;
        if host.own.is_some() && is_done && !is_scripted {
            self.queue.push(at + REST_US, Due::Rested { node: id, starts, entries });
        }
    }

    /// Nothing came for a while: a journal says that all is safe.
    pub(super) fn rested(&mut self, id: u32, entries: usize) {
        let Self { hosts, tally, .. } = self;
        let Some(host) = hosts.get_mut(id) else { return };
        let Some(own) = &mut host.own else { return };
        if host.io.0.borrow().journal.len() != entries {
            return;
        }
        let written = own.write(&host.io.0.borrow().journal, tally);
        if written.and_then(|()| own.sync()).is_err() {
            self.disk_failed(id);
        }
    }

    /// How long it takes until another process takes the place of one that ended by itself, in microseconds.
    pub(crate) fn stays_away_us(&mut self) -> u64 {
        let faults = self.disk_faults.as_mut();
        faults.map_or(AWAY_US.0, |faults| faults.random().random_range(AWAY_US.0..AWAY_US.1))
    }

    /// A node's disk failed, so that its process has to end.
    fn disk_failed(&mut self, id: u32) {
        if self.ended.iter().all(|(of, _)| *of != id) {
            self.happens(id, Sometimes::FailedSync);
            self.ended.push((id, Ending::Process));
        }
    }

    /// Something that happens to a node's own journal is logged and counted.
    fn happens(&mut self, id: u32, what: Sometimes) {
        let name = <&str>::from(what);
        self.record(&Event::Noted(id, name));
        self.tally.sometimes(what);
    }
}
