//! A machine's disk with the journal that its node brings along, and what is known of what should be on it.

use crate::{
    disk::Disk,
    journal::{Disks, Failed, Opened, OwnJournal, Sometimes},
    random::Random,
    tally::Tally,
    world::disk::Journal,
};

/// One in so many syncs fails, as long as any may.
const SYNCS_TO_A_FAILURE: u32 = 200;
/// One in so many starts is cut off, as long as any may be.
const STARTS_TO_A_CUT: u32 = 4;
/// A start that is cut off has made fewer changes of the disk than so many.
const CHANGES_BEFORE_A_CUT: u64 = 8;

/// How a process ends that did not mean to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The process alone: what it wrote is in the system's cache.
    Process,
    /// The machine loses power.
    Power,
}

/// A machine's disk, and its journal while it is open.
pub(crate) struct Own<E> {
    pub(crate) disk: Disk,
    journal: Option<Box<dyn OwnJournal<E>>>,
    /// Each write that may not be safe, and the last one that is: its mark, and up to which entry it went.
    written: Vec<(u64, u64)>,
}

impl<E> Own<E> {
    pub(crate) fn new(disks: &Disks) -> Self {
        let disk = Disk::with_sectors(disks.sector_bytes);
        Self { disk, journal: None, written: Vec::new() }
    }

    /// The process ends.
    pub(crate) fn stop(&mut self, ending: Ending, random: &mut Random) {
        self.journal = None;
        match ending {
            Ending::Process => self.disk.kill(),
            Ending::Power => drop(self.disk.power_off(random)),
        }
    }

    /// The journal is open: its entries, and up to which of those that were ever appended they go.
    pub(crate) fn opened(&mut self, opened: Opened<E>) -> (Vec<E>, u64) {
        let Opened { journal, entries, mark } = opened;
        let found = self.written.iter().rev().find(|(of, _)| *of <= mark);
        let upto = found.map_or(0, |(_, upto)| *upto);
        self.journal = Some(journal);
        self.written = vec![(mark, upto)];
        (entries, upto)
    }

    /// See [`OwnJournal::tidy`].
    pub(crate) fn tidy(&mut self, live: u64, tally: &mut Tally) -> Result<Vec<E>, Failed> {
        self.journal.as_mut().map_or(Ok(Vec::new()), |journal| journal.tidy(live, tally))
    }

    /// Writes what is not durable.
    pub(crate) fn write(&mut self, list: &Journal<E>, tally: &mut Tally) -> Result<(), Failed> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let from = usize::try_from(list.durable()).expect("fits");
        let mark = journal.write(list.since(from), tally)?;
        self.written.push((mark, list.len() as u64));
        tally.sometimes(Sometimes::Written);
        Ok(())
    }

    /// Makes safe what was written, or fails.
    pub(crate) fn sync(&mut self) -> Result<(), Failed> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        journal.sync()?;
        let last = self.written.len().saturating_sub(1);
        self.written.drain(..last);
        Ok(())
    }
}

/// How often disks still fail.
pub(crate) struct DiskFaults {
    disks: Disks,
    random: Random,
}

impl DiskFaults {
    pub(crate) fn new(seed: u64, disks: Disks) -> Self {
        Self { disks, random: Random::new(seed, "disk faults") }
    }

    /// The faults are healed.
    pub(crate) fn heal(&mut self) {
        (self.disks.sync_fails, self.disks.cut_starts) = (0, 0);
    }

    /// Lets the next sync of a disk fail, now and then.
    pub(crate) fn before_sync(&mut self, disk: &Disk) {
        if self.disks.sync_fails > 0 && self.random.random_range(0..SYNCS_TO_A_FAILURE) == 0 {
            self.disks.sync_fails -= 1;
            disk.fail_next_sync(&mut self.random);
        }
    }

    /// Cuts a start off, now and then: true if it may be.
    pub(crate) fn before_start(&mut self, disk: &Disk) -> bool {
        let cuts = self.disks.cut_starts > 0 && self.random.random_range(0..STARTS_TO_A_CUT) == 0;
        if cuts {
            self.disks.cut_starts -= 1;
            disk.stop_after(self.random.random_range(0..CHANGES_BEFORE_A_CUT));
        }
        cuts
    }

    /// What a loss of power does, and how long a process stays away that ended.
    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }
}
