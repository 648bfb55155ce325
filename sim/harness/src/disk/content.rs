//! The bytes of one file: what reads see, what is on the platter, and what is on its way there.

use std::{collections::BTreeMap, ops::Range};

use crate::random::Random;

/// How many contents of a sector are kept between two syncs: those before the last four are not tried.
const MOST_VERSIONS: usize = 4;
/// Which share of the sectors survives a loss of power: one of these for each file and loss.
const SHARES: [f64; 5] = [0.0, 0.1, 0.5, 0.9, 1.0];

/// What the disk does with the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteFault {
    /// It says that it is safe, and does nothing.
    Lost,
    /// It writes to another place: this seed says where.
    Misdirected(u64),
}

/// What the next sync does with a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Written,
    Strays(WriteFault),
    /// A sync failed, and the system takes the sector for clean.
    Dropped,
}

/// The bytes of a file, twice. The platter is never longer than the cache.
#[derive(Clone, Debug, Default)]
struct Image {
    /// As reads see them.
    cache: Vec<u8>,
    /// As a loss of power leaves them, if nothing more arrives.
    platter: Vec<u8>,
}

impl Image {
    /// These bytes arrive on the platter, which is that long.
    fn settle(&mut self, range: Range<usize>) {
        self.platter[range.clone()].copy_from_slice(&self.cache[range]);
    }
}

/// A sector at one time.
#[derive(Clone, Debug)]
struct Version {
    real: Vec<u8>,
    /// Where the ideal is another one.
    ideal: Option<Vec<u8>>,
}

/// A sector that was written since the last sync.
#[derive(Clone, Debug)]
struct Pending {
    /// What it was after each write: the system may send any of them to the platter at any time.
    versions: Vec<Version>,
    fate: Fate,
}

/// The bytes of one file.
#[derive(Clone, Debug)]
pub(super) struct Content {
    sector_bytes: usize,
    real: Image,
    /// What a disk without faults would have: what differs on the platters is damaged. None: it is the same.
    ideal: Option<Image>,
    pending: BTreeMap<usize, Pending>,
}

/// What a loss of power did to a file.
#[derive(Debug, Default)]
pub(super) struct Loss {
    /// Sectors whose last content is not there.
    pub(super) lost: Vec<usize>,
    /// The sector of which a part is new.
    pub(super) torn: Option<usize>,
}

/// A sector that a sync left out, although it said that all is safe.
pub(super) struct Stray {
    pub(super) sector: usize,
    pub(super) fault: WriteFault,
    pub(super) bytes: Vec<u8>,
}

/// Where a sector is torn, and whether its beginning is what is new.
#[derive(Clone, Copy)]
struct Tear {
    at: usize,
    begins_new: bool,
}

impl Tear {
    /// A tear that shows: on both sides of it something changed.
    fn draw(old: &[u8], new: &[u8], random: &mut Random) -> Option<Self> {
        let changed: Vec<usize> = (0..old.len()).filter(|at| old[*at] != new[*at]).collect();
        let (first, last) = (*changed.first()?, *changed.last()?);
        (first < last).then(|| Self {
            at: random.random_range(first + 1..=last),
            begins_new: random.random_bool(0.5),
        })
    }

    fn apply(self, old: &[u8], new: &[u8]) -> Vec<u8> {
        let (head, tail) = if self.begins_new { (new, old) } else { (old, new) };
        [&head[..self.at], &tail[self.at..]].concat()
    }
}

/// A whole sector: beyond the end of the file it is of zeros.
fn sector(of: &[u8], index: usize, size: usize) -> Vec<u8> {
    let from = (index * size).min(of.len());
    let mut bytes = of[from..(from + size).min(of.len())].to_vec();
    bytes.resize(size, 0);
    bytes
}

/// Puts as much of a sector as the file is long.
fn put(into: &mut [u8], index: usize, sector: &[u8]) {
    let from = (index * sector.len()).min(into.len());
    let count = sector.len().min(into.len() - from);
    into[from..from + count].copy_from_slice(&sector[..count]);
}

impl Content {
    pub(super) fn new(sector_bytes: usize) -> Self {
        Self { sector_bytes, real: Image::default(), ideal: None, pending: BTreeMap::new() }
    }

    fn images(&mut self) -> impl Iterator<Item = &mut Image> {
        std::iter::once(&mut self.real).chain(&mut self.ideal)
    }

    /// From here on the file differs from what it would be on a disk without faults.
    fn differ(&mut self) {
        if self.ideal.is_none() {
            self.ideal = Some(self.real.clone());
            let versions = self.pending.values_mut().flat_map(|pending| &mut pending.versions);
            versions.for_each(|version| version.ideal = Some(version.real.clone()));
        }
    }

    pub(super) fn cache(&self) -> &[u8] {
        &self.real.cache
    }

    pub(super) fn platter(&self) -> &[u8] {
        &self.real.platter
    }

    pub(super) fn length(&self) -> usize {
        self.real.cache.len()
    }

    /// Writes at a place, which may be beyond the end. The gap needs no write: it is of zeros anyway.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8], fault: Option<WriteFault>) {
        let end = at + bytes.len();
        for image in self.images() {
            let length = image.cache.len().max(end);
            image.cache.resize(length, 0);
            image.cache[at..end].copy_from_slice(bytes);
        }
        for index in at / self.sector_bytes..end.div_ceil(self.sector_bytes) {
            self.touch(index, fault);
        }
    }

    fn touch(&mut self, index: usize, fault: Option<WriteFault>) {
        let version = Version {
            real: sector(&self.real.cache, index, self.sector_bytes),
            ideal: self.ideal.as_ref().map(|ideal| sector(&ideal.cache, index, self.sector_bytes)),
        };
        let fresh = Pending { versions: Vec::new(), fate: Fate::Written };
        let pending = self.pending.entry(index).or_insert(fresh);
        pending.fate = match (fault, pending.fate) {
            (Some(fault), _) | (None, Fate::Strays(fault)) => Fate::Strays(fault),
            (None, Fate::Written | Fate::Dropped) => Fate::Written,
        };
        if pending.versions.len() == MOST_VERSIONS {
            pending.versions.remove(0);
        }
        pending.versions.push(version);
    }

    /// Makes all of it safe, or says so: the sectors that strayed are not.
    pub(super) fn sync(&mut self) -> Vec<Stray> {
        self.grow_platters(self.length());
        if self.pending.values().any(|pending| pending.fate != Fate::Written) {
            self.differ();
        }
        let mut strays = Vec::new();
        for (index, pending) in std::mem::take(&mut self.pending) {
            let range = self.range(index);
            if let Some(ideal) = &mut self.ideal {
                ideal.settle(range.clone());
            }
            match pending.fate {
                Fate::Written => self.real.settle(range),
                Fate::Strays(fault) => {
                    let bytes = sector(&self.real.cache, index, self.sector_bytes);
                    strays.push(Stray { sector: index, fault, bytes });
                }
                Fate::Dropped => {}
            }
        }
        strays
    }

    /// The bytes of a sector that are the file's.
    fn range(&self, index: usize) -> Range<usize> {
        let from = index * self.sector_bytes;
        from.min(self.length())..(from + self.sector_bytes).min(self.length())
    }

    /// A sync fails: some sectors arrive, and the system forgets that it has to write the others, of which there is
    /// one at least. Says which.
    pub(super) fn fail_sync(&mut self, random: &mut Random) -> Vec<usize> {
        let dirty: Vec<usize> = self.dirty().collect();
        if dirty.is_empty() {
            return Vec::new();
        }
        let certain = dirty[random.random_range(0..dirty.len())];
        let mut dropped = Vec::new();
        for index in dirty {
            let arrives = random.random_bool(0.5) && index != certain;
            let Some(pending) = self.pending.get_mut(&index) else { continue };
            if arrives && pending.fate == Fate::Written {
                self.arrive(index);
            } else {
                (pending.fate, pending.versions) = (Fate::Dropped, Vec::new());
                dropped.push(index);
            }
        }
        dropped
    }

    /// The sectors that the system still means to write.
    fn dirty(&self) -> impl Iterator<Item = usize> {
        self.pending.iter().filter(|(_, pending)| pending.fate != Fate::Dropped).map(|(n, _)| *n)
    }

    /// A sector arrives on the platter without a sync.
    fn arrive(&mut self, index: usize) {
        self.pending.remove(&index);
        let end = ((index + 1) * self.sector_bytes).min(self.length());
        self.grow_platters(end);
        let range = self.range(index);
        self.images().for_each(|image| image.settle(range.clone()));
    }

    fn grow_platters(&mut self, length: usize) {
        for image in self.images() {
            let length = image.platter.len().max(length);
            image.platter.resize(length, 0);
        }
    }

    /// The machine loses power: the platter is all there is, with what arrived on it before.
    pub(super) fn power_off(&mut self, random: &mut Random) -> Loss {
        let length = self.surviving_length(random);
        self.grow_platters(length);
        let share = SHARES[random.random_range(0..SHARES.len())];
        let dirty: Vec<usize> =
            self.dirty().filter(|index| index * self.sector_bytes < length).collect();
        let tears = !dirty.is_empty() && random.random_bool(0.5);
        let torn = tears.then(|| dirty[random.random_range(0..dirty.len())]);
        let mut loss = Loss::default();
        for (index, pending) in std::mem::take(&mut self.pending) {
            if torn == Some(index) && self.tear(index, &pending, random) {
                loss.torn = torn;
            } else if !self.survive(index, &pending, share, random) {
                loss.lost.push(index);
            }
        }
        self.images().for_each(|image| image.cache.clone_from(&image.platter));
        loss
    }

    /// Of a growth nothing is kept, all, or a part.
    fn surviving_length(&self, random: &mut Random) -> usize {
        let (least, most) = (self.real.platter.len(), self.length());
        match random.random_range(0..3_u32) {
            0 => least,
            1 => most,
            _ => random.random_range(least..=most),
        }
    }

    /// Leaves a sector that is partly new. False: nothing of it shows, or it would not have been written.
    fn tear(&mut self, index: usize, pending: &Pending, random: &mut Random) -> bool {
        let (Fate::Written, Some(new)) = (pending.fate, pending.versions.last()) else {
            return false;
        };
        let old = sector(&self.real.platter, index, self.sector_bytes);
        // Beyond the end nothing shows.
        let within = (self.real.platter.len() - index * self.sector_bytes).min(self.sector_bytes);
        let Some(tear) = Tear::draw(&old[..within], &new.real[..within], random) else {
            return false;
        };
        put(&mut self.real.platter, index, &tear.apply(&old, &new.real));
        if let (Some(ideal), Some(new)) = (&mut self.ideal, &new.ideal) {
            let old = sector(&ideal.platter, index, self.sector_bytes);
            put(&mut ideal.platter, index, &tear.apply(&old, new));
        }
        true
    }

    /// Whether the last content of a sector is there after a loss of power. One before it may be.
    fn survive(
        &mut self,
        index: usize,
        pending: &Pending,
        share: f64,
        random: &mut Random,
    ) -> bool {
        if pending.fate != Fate::Written || !random.random_bool(share) {
            return false;
        }
        let which = random.random_range(0..pending.versions.len());
        put(&mut self.real.platter, index, &pending.versions[which].real);
        if let (Some(ideal), Some(version)) = (&mut self.ideal, &pending.versions[which].ideal) {
            put(&mut ideal.platter, index, version);
        }
        which + 1 == pending.versions.len() && index * self.sector_bytes < self.real.platter.len()
    }

    /// The sectors on the platter on whose way there nothing is.
    pub(super) fn at_rest(&self) -> impl Iterator<Item = usize> {
        let count = self.real.platter.len().div_ceil(self.sector_bytes);
        (0..count).filter(|index| !self.pending.contains_key(index))
    }

    /// How many bytes of a sector are the file's.
    pub(super) fn bytes_of(&self, sector: usize) -> usize {
        self.length().saturating_sub(sector * self.sector_bytes).min(self.sector_bytes)
    }

    /// A sector as it is on the platter: beyond the end it is of zeros.
    pub(super) fn sector(&self, index: usize) -> Vec<u8> {
        sector(&self.real.platter, index, self.sector_bytes)
    }

    /// Damages a sector that is at rest. It is in no cache: reads see it.
    pub(super) fn damage(&mut self, index: usize, bytes: &[u8]) {
        self.differ();
        put(&mut self.real.platter, index, bytes);
        let bytes = self.sector(index);
        put(&mut self.real.cache, index, &bytes);
    }

    /// What is not to be written any more is read from the platter from now on.
    pub(super) fn drop_cache(&mut self) {
        self.differ();
        let dirty: Vec<usize> = self.dirty().collect();
        let mut on_platter = self.real.platter.clone();
        on_platter.resize(self.length(), 0);
        let before = std::mem::replace(&mut self.real.cache, on_platter);
        for index in dirty {
            put(&mut self.real.cache, index, &sector(&before, index, self.sector_bytes));
        }
    }

    /// Where the platter is not as a disk without faults would have it: places and lengths.
    pub(super) fn damaged(&self) -> Vec<(usize, usize)> {
        let Some(ideal) = &self.ideal else { return Vec::new() };
        let pairs = self.real.platter.iter().zip(&ideal.platter).enumerate();
        stretches(pairs.filter(|(_, (real, ideal))| real != ideal).map(|(at, _)| at))
    }
}

/// Numbers in order as stretches of neighbours: their firsts, and how many.
pub(super) fn stretches(numbers: impl IntoIterator<Item = usize>) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match found.last_mut() {
            Some((first, count)) if *first + *count == number => *count += 1,
            Some(_) | None => found.push((number, 1)),
        }
    }
    found
}
