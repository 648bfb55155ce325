//! A journal that a system brings along: its own code, on a simulated [`crate::disk`] of bytes.
//!
//! A system without one has a list of entries that is kept perfectly ([`crate::world::disk`]). With one, that list
//! remains as what should be on the disk: a start compares what the system's code finds with it.
//!
//! # What is held against it
//!
//! - All that a sync had ended for is found after any crash, also of all nodes at once.
//! - Of the rest, what is found is what was appended up to some write, and nothing behind it.
//! - What is found says what the list says up to there, however much of it was cleaned away.
//! - A whole disk does not pass for a damaged one.

use strum::{IntoStaticStr, VariantArray};

use crate::tally::{Gate, Tally, Topic};

/// A journal that is open.
pub trait OwnJournal<E> {
    /// Does a part of what can be done beside writing: makes room, or cleans. About so many entries still count.
    /// Returns entries of which those that still count have to be appended once more, before the next write.
    ///
    /// # Errors
    ///
    /// The disk fails.
    fn tidy(&mut self, live: u64, tally: &mut Tally) -> Result<Vec<E>, Failed>;

    /// Writes these entries. They are safe after the next sync. Without entries, it writes that all is safe, if that
    /// is not on the disk. Returns a mark: the next start says up to which mark it found all.
    ///
    /// # Errors
    ///
    /// The disk fails.
    fn write(&mut self, entries: &[E], tally: &mut Tally) -> Result<u64, Failed>;

    /// Makes safe what was written.
    ///
    /// # Errors
    ///
    /// The disk fails.
    fn sync(&mut self) -> Result<(), Failed>;
}

/// The disk failed: the process has to end. What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed(pub String);

/// A journal that was opened, and what was in it.
pub struct Opened<E> {
    /// The journal.
    pub journal: Box<dyn OwnJournal<E>>,
    /// Its entries, in order: without those that were cleaned away.
    pub entries: Vec<E>,
    /// Up to which mark it has all. Zero: it is new.
    pub mark: u64,
}

/// Why a journal was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unopened<E> {
    /// The disk failed: the process has to end, and the next one may have more luck.
    Failed(Failed),
    /// Something that was safe is not as it was written: what is damaged, and the entries that can be read.
    Damaged(String, Vec<E>),
}

/// The disks of the nodes' own journals, and how often they fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disks {
    /// The bytes of a sector: each is written by itself.
    pub sector_bytes: usize,
    /// So many syncs fail at most, before the faults are healed. The process ends, and another one starts.
    pub sync_fails: u32,
    /// So many starts are interrupted at most, before the faults are healed: the power fails in the middle.
    pub cut_starts: u32,
}

/// What should happen now and then where nodes have journals of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, VariantArray, IntoStaticStr)]
pub enum Sometimes {
    /// Entries were written.
    #[strum(serialize = "journal written")]
    Written,
    /// They were made safe.
    #[strum(serialize = "journal synced")]
    Synced,
    /// A node started on what its journal had.
    #[strum(serialize = "started from a journal on a disk")]
    Started,
    /// What was not safe was there all the same.
    #[strum(serialize = "what was not synced survived a crash")]
    Survived,
    /// What was not safe was lost.
    #[strum(serialize = "what was not synced was lost with the power")]
    Lost,
    /// Of what was not safe a part was there, and was cut off.
    #[strum(serialize = "a torn end of a journal was cut")]
    TailCut,
    /// A segment was used again.
    #[strum(serialize = "a segment was used again")]
    Reused,
    /// What still counts of the oldest segment was written once more.
    #[strum(serialize = "a journal was cleaned")]
    Cleaned,
    /// A sync failed, and the process ended.
    #[strum(serialize = "a sync failed")]
    FailedSync,
    /// A start found that the journal was damaged.
    #[strum(serialize = "a journal was found to be damaged")]
    Damaged,
    /// A node began with what could be read of a damaged journal.
    #[strum(serialize = "a node began with what could be read of a damaged journal")]
    HeadStart,
    /// The power failed while a journal was opened.
    #[strum(serialize = "the power failed while a journal was opened")]
    CutStart,
}

/// The gates of systems whose nodes have journals of their own.
pub fn gates() -> Vec<Gate> {
    let name = |name: &Sometimes| Gate::new(Topic::Event, <&str>::from(name));
    Sometimes::VARIANTS.iter().map(name).collect()
}
