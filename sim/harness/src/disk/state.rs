//! The state of one machine's disk, and what a process does with it.

use std::{collections::BTreeMap, io, rc::Rc};

use super::{
    content::{Content, WriteFault},
    damage::{Counts, Damage},
    names::{Id, Names},
};

/// No file grows longer: a wrong offset should fail, and not use up the memory of the simulation.
const MOST_FILE_BYTES: u64 = 1 << 28;

/// A file, and who has it open.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) content: Content,
    handles: Rc<()>,
}

/// One machine's disk.
#[derive(Debug)]
pub(super) struct State {
    pub(super) sector_bytes: usize,
    pub(super) names: Names,
    pub(super) files: BTreeMap<Id, Kept>,
    next: u64,
    /// Which life of the machine's process this is: files that an earlier one opened are dead.
    pub(super) life: u64,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) latency_us: u64,
    /// What is to go wrong next. The numbers are seeds.
    pub(super) next_write: Option<WriteFault>,
    pub(super) next_sync: Option<u64>,
    /// After so many more changes all operations fail: the power is about to fail.
    pub(super) changes_left: Option<u64>,
    pub(super) damage: Vec<Damage>,
    pub(super) counts: Counts,
}

impl State {
    pub(super) fn new(sector_bytes: usize) -> Self {
        Self {
            sector_bytes,
            names: Names::default(),
            files: BTreeMap::new(),
            next: 0,
            life: 0,
            capacity_bytes: None,
            latency_us: 0,
            next_write: None,
            next_sync: None,
            changes_left: None,
            damage: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The same, as another disk: nobody has its files open.
    pub(super) fn copy(&self) -> Self {
        let files = self.files.iter().map(|(id, kept)| {
            (*id, Kept { content: kept.content.clone(), handles: Rc::default() })
        });
        let mut copy = Self {
            files: files.collect(),
            names: self.names.clone(),
            damage: self.damage.clone(),
            ..*self
        };
        copy.forget();
        copy
    }

    /// Somebody changes something. It fails where the power is about to fail.
    pub(super) fn changes(&mut self) -> io::Result<()> {
        match &mut self.changes_left {
            Some(0) => Err(io::Error::other("the power fails")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn kept(&mut self, id: Id) -> &mut Kept {
        self.files.get_mut(&id).expect("a file that is open, or has a name, is kept")
    }

    pub(super) fn content(&mut self, id: Id) -> &mut Content {
        &mut self.kept(id).content
    }

    /// What a handle holds, so that its file is kept.
    pub(super) fn hold(&mut self, id: Id) -> Rc<()> {
        Rc::clone(&self.kept(id).handles)
    }

    /// The files that nobody has open, and that no name can come back for, are gone.
    fn forget(&mut self) {
        let names = &self.names;
        self.files.retain(|id, kept| Rc::strong_count(&kept.handles) > 1 || names.mention(*id));
    }

    /// All handles are dead.
    pub(super) fn end_life(&mut self) {
        self.life += 1;
        self.changes_left = None;
        self.files.values_mut().for_each(|kept| kept.handles = Rc::default());
        self.forget();
    }

    /// A file takes a sector for itself, and its bytes whole ones.
    fn taken_sectors(&self, length: u64) -> u64 {
        1 + length.div_ceil(self.sector_bytes as u64)
    }

    /// What the files take, in bytes: those that are removed too, while they are open or a loss of power may bring
    /// their names back.
    pub(super) fn used_bytes(&mut self) -> u64 {
        self.forget();
        let sectors = |kept: &Kept| self.taken_sectors(kept.content.length() as u64);
        self.files.values().map(sectors).sum::<u64>() * self.sector_bytes as u64
    }

    /// For how many more sectors there is room.
    fn free_sectors(&mut self) -> u64 {
        let Some(capacity) = self.capacity_bytes else { return u64::MAX };
        capacity.saturating_sub(self.used_bytes()) / self.sector_bytes as u64
    }

    pub(super) fn create(&mut self, name: &str) -> io::Result<Id> {
        self.names.is_free(name)?;
        if self.free_sectors() < self.taken_sectors(0) {
            self.counts.refused += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let id = Id(self.next);
        self.next += 1;
        let content = Content::new(self.sector_bytes);
        self.files.insert(id, Kept { content, handles: Rc::default() });
        self.names.give(name, id);
        Ok(id)
    }

    /// Writes what there is room for, and fails if that is not all.
    pub(super) fn write(&mut self, id: Id, at: u64, bytes: &[u8]) -> io::Result<()> {
        let place = at.checked_add(bytes.len() as u64).filter(|end| *end <= MOST_FILE_BYTES);
        let place = place.and_then(|_| usize::try_from(at).ok());
        let place = place.ok_or(io::ErrorKind::FileTooLarge)?;
        let length = self.content(id).length() as u64;
        let has = length.div_ceil(self.sector_bytes as u64);
        let most = has.saturating_add(self.free_sectors()).saturating_mul(self.sector_bytes as u64);
        let room = usize::try_from(most.saturating_sub(at)).unwrap_or(usize::MAX);
        let fits = &bytes[..bytes.len().min(room)];
        if !fits.is_empty() {
            let fault = self.next_write.take();
            self.content(id).write(place, fits, fault);
            self.counts.written_bytes += fits.len() as u64;
        }
        if fits.len() < bytes.len() {
            self.counts.refused += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// The bytes of a file, from a place on.
    pub(super) fn read(&mut self, id: Id, at: u64, into: &mut [u8]) -> usize {
        let all = self.content(id).cache();
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(all.len());
        let count = into.len().min(all.len() - from);
        into[..count].copy_from_slice(&all[from..from + count]);
        count
    }
}
