//! A journal that is open: batches are appended, made safe, and their segments cleaned and used again.

use std::collections::VecDeque;

use super::{
    damage::{name_of, number_of},
    disk::{Disk, DiskFile},
    error::{At as _, Error, Place},
    format::{
        BatchHead, PAGE, Pending, SegmentHead, VERSION, pages, segment_head, size_of, write_batch,
    },
    scan::{Scan, Segment, scan},
    states::States,
};
use crate::core::env::Entry;

/// The name of a segment that is not ready.
const UNREADY: &str = "unready-segment";
/// A batch has no more entries than fit into so many bytes, or one.
const MOST_BATCH_BYTES: usize = 1 << 20;
/// So much of a new segment is filled with zeros at a time.
const FILL_BYTES: usize = 1 << 18;
/// Free segments beyond this many are removed. One is ready for what is written, and one was cleaned just then: if that
/// were removed, another one would have to be made each time.
const MOST_FREE: usize = 2;

/// What decides about a journal.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The length of its segments in bytes, in whole pages.
    pub segment_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment_bytes: 4 << 20 }
    }
}

/// What a journal did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Whole pages behind its end that were cut off when it was opened.
    pub cut_pages: u64,
    /// Segments that were used again.
    pub reused: u64,
    /// Segments that were cleaned.
    pub cleaned: u64,
}

/// A segment with batches that count.
#[derive(Debug)]
pub(super) struct Used<F> {
    pub(super) segment: Segment<F>,
    /// Its first batch and its last.
    pub(super) batches: (u64, u64),
}

/// A segment that is being made.
#[derive(Debug)]
struct Unready<F> {
    file: F,
    filled: u64,
    length: u64,
}

/// A journal that is open.
#[derive(Debug)]
pub struct Log<D: Disk> {
    disk: D,
    settings: Settings,
    folder: u64,
    opening: u64,
    /// In the order of their batches: the last one is written to.
    pub(super) used: VecDeque<Used<D::File>>,
    free: Vec<Segment<D::File>>,
    unready: Option<Unready<D::File>>,
    /// The number of the next segment that is made.
    next_segment: u32,
    /// Where the next batch begins, in the segment that is written to.
    page: u64,
    /// The number of the next batch.
    next: u64,
    synced: u64,
    /// The last batch that has entries, and up to where all is safe as the last batch says it.
    last_entries: u64,
    said: u64,
    /// What the last batch says is not needed any more, and what the next one may say.
    floor: u64,
    pub(super) next_floor: u64,
    /// Segments that were written to since the last sync.
    unsynced: Vec<u32>,
    pub(super) states: States,
    /// The next batch that is to be cleaned, and its page in the oldest segment.
    pub(super) cleaning: Option<(u64, u64)>,
    /// The bytes of all entries so far, and how many they are.
    pub(super) sizes: (u64, u64),
    pub(super) counts: Counts,
    has_failed: bool,
    buffer: Vec<u8>,
}

impl<D: Disk> Log<D> {
    /// Opens the journal of a folder, and hands out its entries in their order; or makes one in an empty folder, under
    /// this number, which no other folder may have.
    ///
    /// Opening it again, after a crash in the middle of that as well, hands out the same entries.
    ///
    /// # Errors
    ///
    /// Nothing was changed then. Where it is damaged, all entries that can be read were handed out.
    pub fn open(
        disk: D,
        settings: Settings,
        folder: u64,
        mut take: impl FnMut(Entry),
    ) -> Result<Self, Error> {
        let mut scan = scan(&disk)?;
        if let (None, Some(segment)) = (scan.folder, scan.segments.keys().next()) {
            return Err(Error::Unreadable { segment: *segment });
        }
        let mut states = States::default();
        let last = scan.batches.last().map_or(0, |head| head.number);
        let heads = scan.batches.iter();
        let sizes = heads.fold((0, 0), |(bytes, entries), head| {
            (bytes + head.length, entries + u64::from(head.count))
        });
        scan.entries(|entry| {
            // When they were written does not matter: they count as old as can be.
            states.note(&entry, 0);
            take(entry);
        })?;
        if !scan.damage.is_empty() {
            return Err(Error::Damaged(scan.damage));
        }
        if disk.names().at(Place::Folder)?.iter().any(|name| name == UNREADY) {
            disk.remove(UNREADY).at(Place::Folder)?;
        }
        let mut log = Self {
            disk,
            settings,
            folder: scan.folder.unwrap_or(folder),
            opening: scan.opening + 1,
            used: VecDeque::new(),
            free: Vec::new(),
            unready: None,
            next_segment: scan.segments.keys().last().map_or(1, |last| last + 1),
            page: 1,
            next: last + 1,
            synced: last,
            last_entries: last,
            said: scan.synced,
            floor: scan.floor,
            next_floor: scan.floor,
            unsynced: Vec::new(),
            states,
            cleaning: None,
            sizes,
            counts: Counts { cut_pages: scan.cut, ..Counts::default() },
            has_failed: false,
            buffer: Vec::new(),
        };
        log.sort(scan)?;
        Ok(log)
    }

    /// Makes safe what was read, and tells used segments from free ones.
    fn sort(&mut self, scan: Scan<D::File>) -> Result<(), Error> {
        let mut segments = scan.segments;
        for head in &scan.batches {
            match self.used.back_mut().filter(|used| used.segment.number == head.segment) {
                Some(used) => used.batches.1 = head.number,
                None => {
                    let segment = segments.remove(&head.segment).ok_or(Error::Changed)?;
                    let batches = (head.number, head.number);
                    self.used.push_back(Used { segment, batches });
                }
            }
            self.page = u64::from(head.page) + pages(head.length);
        }
        // A process before this one may have ended before its sync, or because of it: a system that could not write
        // takes what it has for clean, and would not try again.
        for head in scan.batches.iter().filter(|head| head.number > scan.synced) {
            let used = self.used.iter().find(|used| used.segment.number == head.segment);
            let file = &used.ok_or(Error::Changed)?.segment.file;
            let place = Place::Segment(head.segment);
            let at = u64::from(head.page) * PAGE as u64;
            let length = pages(head.length) * PAGE as u64;
            let mut bytes = vec![0; usize::try_from(length).map_err(|_| Error::Changed)?];
            let count = file.read_at(at, &mut bytes).at(place)?;
            file.write_at(at, &bytes[..count]).at(place)?;
        }
        for used in &self.used {
            used.segment.file.sync().at(Place::Segment(used.segment.number))?;
        }
        self.free = segments.into_values().collect();
        self.disk.sync_names().at(Place::Folder)
    }

    /// The number that only this folder has.
    pub fn folder(&self) -> u64 {
        self.folder
    }

    /// How often the journal was opened.
    pub fn opening(&self) -> u64 {
        self.opening
    }

    /// The number of the last batch: there is none after it.
    pub fn last(&self) -> u64 {
        self.next - 1
    }

    /// What it did since it was opened.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many bytes all its files have.
    pub fn bytes(&self) -> u64 {
        let used = self.used.iter().map(|used| used.segment.length);
        let unready = self.unready.iter().map(|unready| unready.filled);
        used.chain(self.free.iter().map(|free| free.length)).chain(unready).sum()
    }

    /// How many bytes the segments have that are used.
    pub fn used_bytes(&self) -> u64 {
        self.used.iter().map(|used| used.segment.length).sum()
    }

    /// Writes what waits, and forgets it. It is safe after the next [`Self::sync`].
    ///
    /// Where nothing waits it writes a batch without entries if that says something new: up to where all is safe, or
    /// what is not needed any more.
    ///
    /// # Errors
    ///
    /// The disk fails, and what is on it is unknown from then on.
    pub fn write(&mut self, pending: &mut Pending) -> Result<(), Error> {
        self.unless_failed(|log| log.write_all(pending))?;
        pending.clear();
        Ok(())
    }

    /// Makes safe what was written.
    ///
    /// # Errors
    ///
    /// The disk fails, and what is on it is unknown from then on.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.unless_failed(Self::sync_all)
    }

    /// Makes a part of the segment that will be needed next, if there is none. True: there is more to do.
    ///
    /// # Errors
    ///
    /// The disk fails. What was written before is not concerned, but the process must end.
    pub fn prepare(&mut self) -> Result<bool, Error> {
        if !self.free.is_empty() {
            return Ok(false);
        }
        self.unless_failed(|log| log.prepare_some(log.settings.segment_bytes))
    }

    fn unless_failed<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.has_failed {
            return Err(Error::Failed);
        }
        let done = act(self);
        self.has_failed = done.is_err();
        done
    }

    fn write_all(&mut self, pending: &Pending) -> Result<(), Error> {
        let mut entries = pending.iter().peekable();
        let is_unsaid = self.said < self.last_entries && self.last_entries <= self.synced;
        let says_more = is_unsaid || self.next_floor > self.floor;
        if entries.peek().is_none() && !says_more {
            return Ok(());
        }
        let first = self.next;
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut done: Result<(), Error> = Ok(());
        loop {
            let (mut batch, mut size) = (Vec::new(), 0);
            while let Some(entry) = entries
                .next_if(|entry| batch.is_empty() || size + size_of(entry) <= MOST_BATCH_BYTES)
            {
                size += size_of(entry);
                batch.push(entry);
            }
            let is_last = entries.peek().is_none();
            done = done.and_then(|()| self.write_one(&batch, size, is_last, &mut buffer));
            if is_last || done.is_err() {
                break;
            }
        }
        self.buffer = buffer;
        // Which of the batches a state is in is not known: it counts as old as it can be.
        for state in pending.states() {
            self.states.note(state, first);
        }
        done
    }

    fn write_one(
        &mut self,
        batch: &[&[u8]],
        size: usize,
        is_last: bool,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let needed = pages(size as u64);
        self.make_room(needed)?;
        // What was appended once more for this floor is in this batch or before it.
        let floor = if is_last { self.next_floor } else { self.floor };
        let used = self.used.back_mut().expect("there is room");
        let number = used.segment.number;
        let mut head = BatchHead {
            folder: self.folder,
            segment: number,
            page: u32::try_from(self.page).expect("segments are short"),
            number: self.next,
            opening: self.opening,
            synced: self.synced,
            floor,
            length: 0,
            count: 0,
        };
        buffer.clear();
        write_batch(&mut head, batch.iter().copied(), buffer);
        used.segment.file.write_at(self.page * PAGE as u64, buffer).at(Place::Segment(number))?;
        used.batches.1 = self.next;
        self.said = self.synced;
        self.sizes = (self.sizes.0 + size as u64, self.sizes.1 + batch.len() as u64);
        if !batch.is_empty() {
            self.last_entries = self.next;
        }
        if !self.unsynced.contains(&number) {
            self.unsynced.push(number);
        }
        (self.page, self.next, self.floor) = (self.page + needed, self.next + 1, floor);
        Ok(())
    }

    /// Sees to it that the segment that is written to has so many pages left: else it is another one's turn.
    fn make_room(&mut self, needed: u64) -> Result<(), Error> {
        let left = self
            .used
            .back()
            .map_or(0, |used| (used.segment.length / PAGE as u64).saturating_sub(self.page));
        if left >= needed {
            return Ok(());
        }
        let length = ((needed + 1) * PAGE as u64).max(self.settings.segment_bytes);
        let is_enough = |free: &Segment<D::File>| free.length >= length;
        let place = match self.free.iter().position(is_enough) {
            Some(place) => place,
            None => {
                // An entry that is longer than a segment has one of its own.
                if self.unready.as_ref().is_some_and(|unready| unready.length < length) {
                    self.unready = None;
                    self.disk.remove(UNREADY).at(Place::Folder)?;
                }
                while self.prepare_some(length)? {}
                self.free.len() - 1
            }
        };
        let mut segment = self.free.swap_remove(place);
        if !segment.has_head {
            let head = self.head(segment.number);
            segment.file.write_at(0, &head).at(Place::Segment(segment.number))?;
            segment.has_head = true;
        }
        // Segments are made in the order of their numbers, so this one had its turn before.
        let newest = self.used.iter().map(|used| used.segment.number).max().unwrap_or(0);
        self.counts.reused += u64::from(segment.number < newest);
        self.used.push_back(Used { segment, batches: (self.next, self.next) });
        self.page = 1;
        Ok(())
    }

    fn head(&self, segment: u32) -> Vec<u8> {
        segment_head(SegmentHead { version: VERSION, folder: self.folder, segment })
    }

    /// Makes a part of a segment. True: there is more to do.
    fn prepare_some(&mut self, length: u64) -> Result<bool, Error> {
        let number = self.next_segment;
        let place = Place::Segment(number);
        let head = self.head(number);
        let unready = match &mut self.unready {
            Some(unready) => unready,
            None => {
                let file = self.disk.create(UNREADY).at(place)?;
                self.unready.insert(Unready { file, filled: 0, length })
            }
        };
        if unready.filled < unready.length {
            let some = (FILL_BYTES as u64).min(unready.length - unready.filled);
            let zeros = vec![0; usize::try_from(some).expect("little")];
            unready.file.write_at(unready.filled, &zeros).at(place)?;
            unready.filled += some;
            return Ok(true);
        }
        unready.file.write_at(0, &head).at(place)?;
        unready.file.sync().at(place)?;
        let Some(Unready { file, length, .. }) = self.unready.take() else { return Ok(false) };
        // From here on the name says that it is a segment.
        self.disk.rename(UNREADY, &name_of(number)).at(place)?;
        self.disk.sync_names().at(Place::Folder)?;
        self.free.push(Segment { number, file, length, has_head: true });
        self.next_segment += 1;
        Ok(false)
    }

    fn sync_all(&mut self) -> Result<(), Error> {
        for number in &self.unsynced {
            let used = self.used.iter().rev().find(|used| used.segment.number == *number);
            let used = used.expect("what is written to is used");
            used.segment.file.sync().at(Place::Segment(*number))?;
        }
        self.unsynced.clear();
        self.synced = self.next - 1;
        // What the last batch says is safe too.
        while self.used.len() > 1 && self.used[0].batches.1 < self.floor {
            let used = self.used.pop_front().expect("there are two");
            self.free.push(used.segment);
        }
        self.remove_free()
    }

    fn remove_free(&mut self) -> Result<(), Error> {
        while self.free.len() > MOST_FREE {
            let free = self.free.pop().expect("there are some");
            self.disk.remove(&name_of(free.number)).at(Place::Segment(free.number))?;
        }
        Ok(())
    }

    /// The length of a segment.
    pub fn segment_bytes(&self) -> u64 {
        self.settings.segment_bytes
    }
}

/// Whether a folder has anything of a journal.
///
/// # Errors
///
/// The folder cannot be read.
pub fn is_there(disk: &impl Disk) -> Result<bool, Error> {
    Ok(disk.names().at(Place::Folder)?.iter().any(|name| number_of(name).is_some()))
}
