//! What a folder holds of a journal, and what of it counts.
//!
//! Let `S` be the greatest number that any batch calls safe. What is missing up to `S` was acknowledged once: that is
//! damage. What is missing above it was not: the journal ends before it. So does it where batches above `S` are whole
//! but one before them is not, for a disk may write later things first.
//!
//! A batch that was left of such an end has a number that a later opening gives out again. The later opening counts,
//! and behind a batch of a later opening none of an earlier one does.

use std::collections::BTreeMap;

use super::{
    damage::{Damage, name_of, number_of},
    disk::{Disk, DiskFile},
    error::{At as _, Error, Place},
    format::{
        self, BATCH_HEAD, BatchHead, HeadSays, PAGE, SegmentHead, VERSION, read_batch_head,
        read_entries, read_segment_head,
    },
};
use crate::core::env::Entry;

/// No journal comes to so many segments, and there is room for those that are made after the last.
const MOST_SEGMENTS: u32 = u32::MAX - (1 << 24);

/// A segment's file.
#[derive(Debug)]
pub struct Segment<F> {
    /// Its number, which is in its name.
    pub number: u32,
    /// The file.
    pub file: F,
    /// Its length in bytes.
    pub length: u64,
    /// Whether its first page is as it should be.
    pub has_head: bool,
}

/// What of a folder counts.
#[derive(Debug)]
pub struct Scan<F> {
    /// Whose the folder is. None: there is no journal in it.
    pub folder: Option<u64>,
    /// All segments, by their numbers.
    pub segments: BTreeMap<u32, Segment<F>>,
    /// The batches that count, in their order.
    pub batches: Vec<BatchHead>,
    /// The greatest opening that any batch was written in.
    pub opening: u64,
    /// Up to which number all batches were safe for sure.
    pub synced: u64,
    /// No batch below this number is needed.
    pub floor: u64,
    /// Whole pages behind the end that somebody began to write.
    pub cut: u64,
    /// What is missing and was safe once.
    pub damage: Vec<Damage>,
}

/// Looks at all segments of a folder, and changes nothing.
///
/// # Errors
///
/// The disk fails, or a segment is another folder's or of a later version.
pub fn scan<D: Disk>(disk: &D) -> Result<Scan<D::File>, Error> {
    let names = disk.names().at(Place::Folder)?;
    let mut scan = Scan {
        folder: None,
        segments: BTreeMap::new(),
        batches: Vec::new(),
        opening: 0,
        synced: 0,
        floor: 1,
        cut: 0,
        damage: Vec::new(),
    };
    let mut found = Vec::new();
    for number in names.iter().filter_map(|name| number_of(name)) {
        if number > MOST_SEGMENTS {
            return Err(Error::NotOurs { segment: number });
        }
        scan.segment(disk, number, &mut found)?;
    }
    scan.judge(found)?;
    Ok(scan)
}

impl<F: DiskFile> Scan<F> {
    /// Looks at a segment.
    fn segment<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        number: u32,
        found: &mut Vec<BatchHead>,
    ) -> Result<(), Error> {
        let place = Place::Segment(number);
        let file = disk.open(&name_of(number)).at(place)?;
        let length = file.length().at(place)?;
        let mut page = [0; PAGE];
        let count = file.read_at(0, &mut page).at(place)?;
        let head = read_segment_head(&page[..count]);
        if let HeadSays::Segment(SegmentHead { version, folder, segment }) = head {
            if version > VERSION {
                return Err(Error::Newer { segment: number, version });
            }
            self.belongs(number, folder, segment)?;
        }
        let has_head = matches!(head, HeadSays::Segment(_));
        let mut at = PAGE as u64;
        let mut start = [0; BATCH_HEAD];
        while at < length {
            let count = file.read_at(at, &mut start).at(place)?;
            let head = read_batch_head(&start[..count]);
            // One that says that it is elsewhere was written to a wrong place.
            let is_here = |head: &BatchHead| {
                head.segment == number && u64::from(head.page) * PAGE as u64 == at
            };
            let mut taken = 1;
            if let Some(head) = head.filter(is_here) {
                self.belongs(number, head.folder, head.segment)?;
                let end = at + format::pages(head.length) * PAGE as u64;
                // One whose end is not there is one that was not written to its end.
                if end <= length {
                    taken = format::pages(head.length);
                    found.push(head);
                }
            }
            at += taken * PAGE as u64;
        }
        self.segments.insert(number, Segment { number, file, length, has_head });
        Ok(())
    }

    /// A segment, or a batch, says whose it is.
    fn belongs(&mut self, number: u32, folder: u64, segment: u32) -> Result<(), Error> {
        let ours = *self.folder.get_or_insert(folder);
        match ours == folder && segment == number {
            true => Ok(()),
            false => Err(Error::Foreign { segment: number, says: (folder, segment), ours }),
        }
    }

    /// Decides which batches count.
    fn judge(&mut self, found: Vec<BatchHead>) -> Result<(), Error> {
        self.opening = found.iter().map(|head| head.opening).max().unwrap_or(0);
        self.synced = found.iter().map(|head| head.synced).max().unwrap_or(0);
        // Of each number the one of the latest opening.
        let mut latest: BTreeMap<u64, BatchHead> = BTreeMap::new();
        for head in found {
            let known = latest.entry(head.number).or_insert(head);
            if known.opening < head.opening {
                *known = head;
            }
        }
        let last = self.last(&latest)?;
        self.floor = latest.range(..=last).map(|(_, head)| head.floor).max().unwrap_or(1).max(1);
        self.cut = latest.range(last + 1..).map(|(_, head)| format::pages(head.length)).sum();
        let (mut opening, mut next) = (0, self.floor);
        for (number, head) in latest.into_iter().filter(|(number, _)| *number <= last) {
            if number < self.floor || head.opening < opening {
                continue;
            }
            self.missing(next, number, Some(head.segment));
            (opening, next) = (head.opening, number + 1);
            self.batches.push(head);
        }
        let near = self.batches.last().map(|head| head.segment);
        self.missing(next, last + 1, near);
        Ok(())
    }

    /// Batches from the first of these numbers to the one before the second are missing.
    fn missing(&mut self, first: u64, next: u64, near: Option<u32>) {
        if first < next {
            self.damage.push(Damage::Missing { batches: first..=next - 1, near });
        }
    }

    /// The last batch that counts: of those that were not safe for sure, all up to one that is missing or torn.
    fn last(&self, latest: &BTreeMap<u64, BatchHead>) -> Result<u64, Error> {
        let mut last = self.synced;
        let mut opening = latest.get(&last).map_or(0, |head| head.opening);
        while let Some(head) = latest.get(&(last + 1)).filter(|head| head.opening >= opening) {
            let mut is_whole = true;
            self.read(head, &mut |entry| is_whole &= entry.is_ok())?;
            if !is_whole {
                break;
            }
            (last, opening) = (head.number, head.opening);
        }
        Ok(last)
    }

    /// Reads a batch's entries, and passes on where one is damaged.
    fn read(
        &self,
        head: &BatchHead,
        take: &mut impl FnMut(Result<Entry, format::DamagedEntry>),
    ) -> Result<(), Error> {
        let place = Place::Segment(head.segment);
        let segment = self.segments.get(&head.segment).ok_or(Error::Changed)?;
        read_batch(&segment.file, head).at(place).map(|bytes| {
            read_entries(head, &bytes).for_each(take);
        })
    }

    /// Hands out all entries that can be read, in their order. What can't be is in the damage from then on.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub fn entries(&mut self, mut take: impl FnMut(Entry)) -> Result<(), Error> {
        for head in std::mem::take(&mut self.batches) {
            let mut damaged = 0;
            self.read(&head, &mut |entry| match entry {
                Ok(entry) => take(entry),
                Err(_) => damaged += 1,
            })?;
            if damaged > 0 {
                let at = (head.segment, head.page);
                self.damage.push(Damage::Entries { batch: head.number, at, entries: damaged });
            }
            self.batches.push(head);
        }
        Ok(())
    }
}

/// Reads what is behind the head of a batch.
pub(super) fn read_batch(file: &impl DiskFile, head: &BatchHead) -> std::io::Result<Vec<u8>> {
    // The file is as long as that: its length was looked at.
    let mut bytes =
        vec![0; usize::try_from(head.length).map_err(|_| std::io::ErrorKind::FileTooLarge)?];
    let at = u64::from(head.page) * PAGE as u64 + BATCH_HEAD as u64;
    let count = file.read_at(at, &mut bytes)?;
    bytes.truncate(count);
    Ok(bytes)
}
