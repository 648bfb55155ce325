//! The nodes' journals: those of `kv`, unchanged, on the harness's simulated disks. A node's process does with it what
//! the server's thread for it does.

use harness::{
    disk::Disk,
    journal::{Disks, Failed, Opened, OwnJournal, Sometimes, Unopened},
    scenario::sense::{Sense, no_sense, within},
    tally::Tally,
};
use kv::{
    core::env::Entry,
    journal::{
        Error, Tidied,
        format::{PAGE, Pending},
        log::{Counts, Log, Settings},
    },
    node::recover::Recovered,
};
use serde::{Deserialize, Serialize};

use crate::disk::SimDisk;

/// The nodes' journals, and what goes wrong with their disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalSpec {
    /// The pages of a segment: with few of them, segments are cleaned and used again all the time.
    pub segment_pages: u32,
    /// The bytes of a disk's sector, of which each is written by itself.
    pub sector_bytes: u32,
    /// So many syncs fail at most.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sync_fails: u32,
    /// So many starts are cut off by a loss of power at most.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut_starts: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl JournalSpec {
    /// The same, as the harness has it.
    pub fn disks(&self) -> Disks {
        Disks {
            sector_bytes: self.sector_bytes as usize,
            sync_fails: self.sync_fails,
            cut_starts: self.cut_starts,
        }
    }

    /// Whether its numbers make sense.
    ///
    /// # Errors
    ///
    /// What makes none.
    pub fn check(&self) -> Sense {
        // One for its head, and two for batches: with one alone, cleaning takes as much as it frees.
        within("cluster.journal.segment_pages", self.segment_pages, 3..=1_024)?;
        within("cluster.journal.sector_bytes", self.sector_bytes, 8..=4_096)?;
        match self.sector_bytes.is_power_of_two() {
            true => Ok(()),
            false => no_sense("cluster.journal.sector_bytes must be a power of two"),
        }
    }
}

/// A journal that is open.
struct StoreJournal {
    log: Log<SimDisk>,
    pending: Pending,
    /// All records of the oldest segment that count are among what is written next.
    is_cleaned: bool,
    counted: Counts,
}

/// Opens a node's journal.
///
/// # Errors
///
/// It cannot be opened.
pub fn open(
    spec: &JournalSpec,
    node: u32,
    disk: Disk,
    tally: &mut Tally,
) -> Result<Opened<Entry>, Unopened<Entry>> {
    let settings = Settings { segment_bytes: u64::from(spec.segment_pages) * PAGE as u64 };
    let mut entries = Vec::new();
    let opened = Log::open(SimDisk(disk), settings, u64::from(node), |entry| entries.push(entry));
    let log = match opened {
        Ok(log) => log,
        Err(why @ (Error::Disk { .. } | Error::Failed)) => {
            return Err(Unopened::Failed(failed(why)));
        }
        Err(
            why @ (Error::Damaged(_)
            | Error::Unreadable { .. }
            | Error::Newer { .. }
            | Error::Foreign { .. }
            | Error::NotOurs { .. }
            | Error::Changed),
        ) => return Err(Unopened::Damaged(why.to_string(), entries)),
    };
    if log.counts().cut_pages > 0 {
        tally.sometimes(Sometimes::TailCut);
    }
    let (mark, counted) = (log.last(), log.counts());
    let journal = StoreJournal { log, pending: Pending::default(), is_cleaned: false, counted };
    Ok(Opened { journal: Box::new(journal), entries, mark })
}

/// Whether two rows of entries leave a node with the same.
pub fn says_the_same(found: &[Entry], appended: &[Entry]) -> bool {
    let replay = |entries: &[Entry]| Recovered::replay(entries.iter().cloned());
    replay(found) == replay(appended)
}

impl StoreJournal {
    fn count(&mut self, tally: &mut Tally) {
        let now = self.log.counts();
        if now.reused > self.counted.reused {
            tally.sometimes(Sometimes::Reused);
        }
        if now.cleaned > self.counted.cleaned {
            tally.sometimes(Sometimes::Cleaned);
        }
        self.counted = now;
    }

    fn written(&mut self, entries: &[Entry]) -> Result<u64, Error> {
        entries.iter().for_each(|entry| self.pending.push(entry));
        if std::mem::take(&mut self.is_cleaned) {
            self.log.cleaned(&mut self.pending);
        }
        self.log.write(&mut self.pending)?;
        Ok(self.log.last())
    }

    fn tidied(&mut self, live: u64) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        let tidied = self.log.tidy(|| live, |entry| entries.push(entry))?;
        self.is_cleaned = tidied == Tidied::Cleaned(true);
        Ok(entries)
    }
}

impl OwnJournal<Entry> for StoreJournal {
    fn tidy(&mut self, live: u64, _: &mut Tally) -> Result<Vec<Entry>, Failed> {
        self.tidied(live).map_err(failed)
    }

    fn write(&mut self, entries: &[Entry], tally: &mut Tally) -> Result<u64, Failed> {
        let written = self.written(entries).map_err(failed);
        self.count(tally);
        written
    }

    fn sync(&mut self) -> Result<(), Failed> {
        self.log.sync().map_err(failed)
    }
}

fn failed(why: Error) -> Failed {
    Failed(why.to_string())
}
