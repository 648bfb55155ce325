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

/// At most so many bits flip when a disk rots, all in one stretch of a file: what is damaged at many places at once may
/// leave nothing that tells.
const MOST_FLIPS: u32 = 8;
const STRETCH_BYTES: u64 = 512;

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
    /// Each write that may not be safe, and the last ones that are: its mark, and up to which entry it went.
    written: Vec<(u64, u64)>,
    /// What the node begins with when it starts for the first time.
    pub(crate) head_start: Vec<E>,
    /// Something was damaged that was safe.
    pub(crate) is_rotten: bool,
}

impl<E> Own<E> {
    pub(crate) fn new(disks: &Disks) -> Self {
        let disk = Disk::with_sectors(disks.sector_bytes);
        let (written, head_start) = (Vec::new(), Vec::new());
        Self { disk, journal: None, written, head_start, is_rotten: false }
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
        self.written.retain(|(of, end)| *of < mark && *end == upto);
        self.written.push((mark, upto));
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

    /// Makes safe what was written, and says so.
    pub(crate) fn close(&mut self, tally: &mut Tally) -> Result<(), Failed> {
        self.sync()?;
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let upto = self.written.last().map_or(0, |(_, upto)| *upto);
        self.written.push((journal.write(&[], tally)?, upto));
        self.sync()
    }

    /// Makes safe what was written, or fails.
    pub(crate) fn sync(&mut self) -> Result<(), Failed> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        journal.sync()?;
        let upto = self.written.last().map_or(0, |(_, upto)| *upto);
        self.written.retain(|(_, of)| *of == upto);
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

    /// Some bits flip that are at rest, all in one stretch of a file that is not of zeros.
    pub(crate) fn rot(&mut self, disk: &Disk) {
        let places = |(name, bytes): (String, Vec<u8>)| -> Vec<(String, u64)> {
            let some = (0_u64..).zip(bytes).filter(|(_, byte)| *byte != 0);
            some.map(|(at, _)| (name.clone(), at)).collect()
        };
        let all: Vec<(String, u64)> = disk.safe().into_iter().flat_map(places).collect();
        if all.is_empty() {
            return;
        }
        let (name, first) = &all[self.random.random_range(0..all.len())];
        let stretch = first - first % STRETCH_BYTES..first - first % STRETCH_BYTES + STRETCH_BYTES;
        for _ in 0..self.random.random_range(1..=MOST_FLIPS) {
            let near = all.iter().filter(|(of, at)| of == name && stretch.contains(at));
            let near: Vec<u64> = near.map(|(_, at)| *at).collect();
            let at = near[self.random.random_range(0..near.len())];
            // What is not at rest is left alone.
            drop(disk.flip_bit_at(name, at, self.random.random_range(0..8)));
        }
    }

    /// What a loss of power does, and how long a process stays away that ended.
    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks its writes by their number.
    struct Numbered(u64);

    impl OwnJournal<char> for Numbered {
        fn tidy(&mut self, _: u64, _: &mut Tally) -> Result<Vec<char>, Failed> {
            Ok(Vec::new())
        }

        fn write(&mut self, _: &[char], _: &mut Tally) -> Result<u64, Failed> {
            self.0 += 1;
            Ok(self.0)
        }

        fn sync(&mut self) -> Result<(), Failed> {
            Ok(())
        }
    }

    /// A journal that was opened with all up to a mark: up to which entry it goes.
    fn open(own: &mut Own<char>, mark: u64) -> u64 {
        let journal = Box::new(Numbered(mark));
        own.opened(Opened { journal, entries: Vec::new(), mark }).1
    }

    #[test]
    fn a_start_goes_up_to_the_last_entry_of_the_last_write_that_it_found() {
        let disks = Disks { sector_bytes: 512, sync_fails: 0, cut_starts: 0 };
        for (found, wanted) in [(0, 0), (1, 2), (2, 2), (3, 3), (4, 3), (5, 4)] {
            let (mut own, mut list, mut tally) =
                (Own::new(&disks), Journal::default(), Tally::default());
            assert_eq!(open(&mut own, 0), 0, "it is new");
            list.append('a');
            list.append('b');
            own.write(&list, &mut tally).unwrap();
            // This one says that all is safe. The write before it may be all that is found.
            own.close(&mut tally).unwrap();
            let safe = open(&mut own, 2);
            assert_eq!(list.found(safe), (0, 0));
            for entry in ['c', 'd'] {
                list.append(entry);
                own.write(&list, &mut tally).unwrap();
                if entry == 'c' {
                    own.write(&list, &mut tally).unwrap();
                }
            }
            assert_eq!(open(&mut own, found), wanted, "found up to {found}");
        }
    }
}
