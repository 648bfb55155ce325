//! Cleaning: what still counts of the oldest segment is appended once more; when that is safe the segment is free. So
//! the journal needs no snapshot, nor a second copy of what it keeps (Rosenblum and Ousterhout, "The Design and
//! Implementation of a Log-Structured File System", 1992).

use super::{
    damage::Damage,
    disk::{Disk, DiskFile},
    error::{At as _, Error, Place},
    format::{BATCH_HEAD, BatchHead, PAGE, Pending, pages, read_batch_head, read_records},
    log::{Log, Used},
    scan::{Segment, read_batch},
};
use crate::core::env::Entry;

/// So much of a segment is cleaned at a time, and a batch more at most.
const CLEANED_BYTES: u64 = 1 << 18;

/// What was done beside writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tidied {
    /// Nothing: there is nothing to do.
    Nothing,
    /// A part of a segment was made.
    Prepared,
    /// A part of the oldest segment was read: its records were handed out, and this says whether those were the last.
    Cleaned(bool),
}

impl<D: Disk> Log<D> {
    /// Does a part of what can be done beside writing: makes a segment where none is free, or else cleans a journal that
    /// is too long for so many records, as [`Self::clean`] says.
    ///
    /// # Errors
    ///
    /// The disk fails, or the segment is damaged.
    pub fn tidy(
        &mut self,
        records: impl FnOnce() -> u64,
        take: impl FnMut(Entry),
    ) -> Result<Tidied, Error> {
        if self.prepare()? {
            return Ok(Tidied::Prepared);
        }
        let is_due = self.is_cleaning() || self.is_too_long(records);
        let cleaned = if is_due { self.clean(take)? } else { None };
        Ok(cleaned.map_or(Tidied::Nothing, Tidied::Cleaned))
    }

    /// What so many records and the latest states take on the disk, about: a record takes as much as those that were
    /// written so far.
    pub fn bytes_of(&self, records: u64) -> u64 {
        let (bytes, entries) = self.sizes;
        let records = u128::from(bytes) * u128::from(records) / u128::from(entries.max(1));
        u64::try_from(records).unwrap_or(u64::MAX).saturating_add(self.states.bytes())
    }

    /// Whether it is so long, for so many records, that it is to be cleaned: with this, what is being written, and a
    /// segment or two in reserve, it stays below 2.5 times what counts. The records are counted only if that matters.
    fn is_too_long(&self, records: impl FnOnce() -> u64) -> bool {
        let used = self.used_bytes();
        let most = |live: u64| live + live / 2 + 2 * self.segment_bytes();
        used > most(0) && used > most(self.bytes_of(records()))
    }

    /// Whether a segment is being cleaned.
    pub fn is_cleaning(&self) -> bool {
        self.cleaning.is_some()
    }

    /// Reads on in the oldest segment, to clean it: hands out its records, of which those that still count are to be
    /// appended once more. Says whether those were the last: then, when they were, it is [`Self::cleaned`]. None: there
    /// is only the segment that is written to.
    ///
    /// What was written in many small batches comes at once, so that it is written in few large ones.
    ///
    /// # Errors
    ///
    /// The disk fails, or the segment is damaged.
    pub fn clean(&mut self, mut take: impl FnMut(Entry)) -> Result<Option<bool>, Error> {
        let is_to_be_free = |used: &Used<D::File>| used.batches.1 < self.next_floor;
        if self.used.len() < 2 || is_to_be_free(&self.used[0]) {
            return Ok(None);
        }
        let Used { segment, batches: (first, last) } = &self.used[0];
        let (mut number, mut page) = self.cleaning.unwrap_or((*first, 1));
        let mut bytes = 0;
        while number <= *last && bytes < CLEANED_BYTES {
            let head = clean_batch(segment, (number, page), &mut take)?;
            bytes += head.length;
            (number, page) = (number + 1, page + pages(head.length));
        }
        self.cleaning = Some((number, page));
        Ok(Some(number > *last))
    }

    /// What still counts of the oldest segment's records was appended to what waits: the latest of each kind of
    /// state that is in it is appended too. The segment is free when what waits is safe.
    pub fn cleaned(&mut self, pending: &mut Pending) {
        let last = self.used.front().map_or(0, |used| used.batches.1);
        for state in self.states.up_to(last, pending.states()) {
            pending.push(&state);
        }
        self.next_floor = self.next_floor.max(last + 1);
        self.cleaning = None;
        self.counts.cleaned += 1;
    }
}

/// Hands out the records of a batch that is cleaned, by its number and its page.
fn clean_batch<F: DiskFile>(
    segment: &Segment<F>,
    (number, page): (u64, u64),
    take: &mut impl FnMut(Entry),
) -> Result<BatchHead, Error> {
    let place = Place::Segment(segment.number);
    let near = Some(segment.number);
    let missing = || Error::Damaged(vec![Damage::Missing { batches: number..=number, near }]);
    let mut start = [0; BATCH_HEAD];
    let count = segment.file.read_at(page * PAGE as u64, &mut start).at(place)?;
    let head = read_batch_head(&start[..count]).filter(|head| head.number == number);
    let head = head.ok_or_else(missing)?;
    let bytes = read_batch(&segment.file, &head).at(place)?;
    for entry in read_records(&head, &bytes) {
        take(entry.map_err(|_| missing())?);
    }
    Ok(head)
}
