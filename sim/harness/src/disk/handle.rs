//! What a process and a world hold of a disk.

use std::{cell::RefCell, collections::BTreeMap, fmt, io, ops::Range, rc::Rc};

use super::{
    content::WriteFault,
    damage::{Counts, Damage, Place, PowerLoss},
    names::Id,
    state::State,
};
use crate::random::Random;

/// The bytes of one sector of most disks.
const USUAL_SECTOR_BYTES: usize = 512;

/// A machine's disk, with one folder of files. Clones are the same disk.
#[derive(Clone)]
pub struct Disk(Rc<RefCell<State>>);

/// A file that is open. Clones are the same file.
///
/// It is dead after [`Disk::kill`] and [`Disk::power_off`]: all operations fail.
#[derive(Clone)]
pub struct File {
    disk: Rc<RefCell<State>>,
    id: Id,
    life: u64,
    _held: Rc<()>,
}

impl Default for Disk {
    fn default() -> Self {
        Self::with_sectors(USUAL_SECTOR_BYTES)
    }
}

/// What a process does.
impl Disk {
    /// An empty disk with sectors of so many bytes: what is written to one sector may be there in part, and the order
    /// of sectors is open. The default is 512; many disks have 4,096.
    ///
    /// # Panics
    ///
    /// The size is no power of two.
    pub fn with_sectors(bytes: usize) -> Self {
        assert!(bytes.is_power_of_two(), "sectors of {bytes} bytes");
        Self(Rc::new(RefCell::new(State::new(bytes))))
    }

    fn file(&self, state: &mut State, id: Id) -> File {
        File { disk: Rc::clone(&self.0), id, life: state.life, _held: state.hold(id) }
    }

    /// The names of all files, in order.
    ///
    /// # Errors
    ///
    /// No fault makes it fail: it is as it is of real files.
    pub fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.borrow().names.now().keys().cloned().collect())
    }

    /// Makes an empty file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`], [`io::ErrorKind::StorageFull`], or [`io::ErrorKind::InvalidFilename`] where
    /// the name is not a plain one of 1 to 255 bytes. Nothing happened.
    pub fn create(&self, name: &str) -> io::Result<File> {
        let mut state = self.0.borrow_mut();
        state.changes()?;
        let id = state.create(name)?;
        Ok(self.file(&mut state, id))
    }

    /// Opens a file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`].
    pub fn open(&self, name: &str) -> io::Result<File> {
        let mut state = self.0.borrow_mut();
        let id = state.names.get(name)?;
        Ok(self.file(&mut state, id))
    }

    /// Gives a file another name, and takes that of another file if there is one: it is gone then.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] or [`io::ErrorKind::InvalidFilename`]. Nothing happened.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|state| state.names.rename(from, to))
    }

    /// Takes a file's name away. Who has it open can go on with it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`].
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|state| state.names.remove(name))
    }

    /// Makes all names safe, as they are now.
    ///
    /// # Errors
    ///
    /// After [`Disk::fail_next_sync`]: the names are as safe as before, and a later sync makes them safe. Or after
    /// [`Disk::stop_after`], as with all that changes something.
    pub fn sync_names(&self) -> io::Result<()> {
        self.change(State::sync_names)
    }

    fn change(&self, act: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.changes()?;
        act(&mut state)
    }
}

impl File {
    fn state<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.borrow_mut();
        if state.life != self.life {
            return Err(io::Error::other("the process that opened this file is no more"));
        }
        act(&mut state)
    }

    fn change(&self, act: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        self.state(|state| state.changes().and_then(|()| act(state)))
    }

    /// Its length in bytes.
    ///
    /// # Errors
    ///
    /// The file is dead.
    pub fn length(&self) -> io::Result<u64> {
        self.state(|state| Ok(state.content(self.id).length() as u64))
    }

    /// Reads from a place on until `into` is full or the file ends: says how many bytes.
    ///
    /// # Errors
    ///
    /// The file is dead.
    pub fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.state(|state| Ok(state.read(self.id, at, into)))
    }

    /// Writes at a place, all of it. Between the end of the file and the place there are zeros.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::StorageFull`]: what there was room for is written. [`io::ErrorKind::FileTooLarge`] beyond 256
    /// MiB: nothing is written. Or the file is dead.
    pub fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(|state| state.write(self.id, at, bytes))
    }

    /// Makes safe what was written to the file, and its length.
    ///
    /// # Errors
    ///
    /// After [`Disk::fail_next_sync`], or the file is dead.
    pub fn sync(&self) -> io::Result<()> {
        self.change(|state| state.sync(self.id))
    }
}

/// What goes wrong.
impl Disk {
    /// The process ends at once: what it wrote is there, and as safe as before. Its files are dead.
    pub fn kill(&self) {
        self.0.borrow_mut().end_life();
    }

    /// The machine loses power, and has it again: what is not safe may be lost. All files are dead.
    pub fn power_off(&self, random: &mut Random) -> PowerLoss {
        self.0.borrow_mut().power_off(random)
    }

    /// The system's memory is short: it reads all that it does not have to write from the disk from now on.
    pub fn drop_cache(&self) {
        self.0.borrow_mut().files.values_mut().for_each(|kept| kept.content.drop_cache());
    }

    /// A bit at rest flips. None: nothing is at rest.
    pub fn flip_bit(&self, random: &mut Random) -> Option<Damage> {
        self.0.borrow_mut().flip_bit(random)
    }

    /// This bit at rest flips: of the byte at a place, from 0, the lowest, to 7.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`], or [`io::ErrorKind::InvalidInput`]: it is no bit, or not at rest.
    pub fn flip_bit_at(&self, name: &str, at: u64, bit: u32) -> io::Result<Damage> {
        self.0.borrow_mut().flip_bit_at(name, at, bit)
    }

    /// Two sectors at rest, of one file or of two, change places. None: there are no two that differ, at least from the
    /// one that was drawn.
    pub fn swap_sectors(&self, random: &mut Random) -> Option<Damage> {
        self.0.borrow_mut().swap_sectors(random)
    }

    /// The next sync of the file that is written next leaves out the sectors of that write, and says that all is safe.
    pub fn lose_next_write(&self) {
        self.0.borrow_mut().next_write = Some(WriteFault::Lost);
    }

    /// As [`Disk::lose_next_write`], and the sectors go to another place, which is drawn when the sync comes.
    pub fn misdirect_next_write(&self, random: &mut Random) {
        let seed = random.random_range(0..=u64::MAX);
        self.0.borrow_mut().next_write = Some(WriteFault::Misdirected(seed));
    }

    /// The next sync fails, of a file or of the names. A part of what one of a file should write is not written by any
    /// later one.
    pub fn fail_next_sync(&self, random: &mut Random) {
        self.0.borrow_mut().next_sync = Some(random.random_range(0..=u64::MAX));
    }

    /// After so many more changes (writes, syncs, and what is done to names) all of them fail, up to the next
    /// [`Disk::power_off`], which is to follow. So the power fails in the middle of something.
    pub fn stop_after(&self, changes: u64) {
        self.0.borrow_mut().changes_left = Some(changes);
    }

    /// The power does not fail in the middle of something any more, if nothing failed by it.
    pub fn go_on(&self) {
        self.0.borrow_mut().changes_left = None;
    }

    /// There is room for so many bytes, or for any. It may be less than what is there. Each file takes whole sectors,
    /// and one more for itself.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.borrow_mut().capacity_bytes = bytes;
    }

    /// What the files take of the capacity, in bytes.
    pub fn used_bytes(&self) -> u64 {
        self.0.borrow_mut().used_bytes()
    }

    /// Every sync takes so much longer, in microseconds. The disk keeps the figure only, for the world.
    pub fn set_latency_us(&self, latency_us: u64) {
        self.0.borrow_mut().latency_us = latency_us;
    }

    /// How much longer every sync takes, in microseconds.
    pub fn latency_us(&self) -> u64 {
        self.0.borrow().latency_us
    }

    /// Nothing goes wrong any more: there is room, no delay, and what was to go wrong next does not. Damage stays.
    pub fn heal(&self) {
        let mut state = self.0.borrow_mut();
        (state.capacity_bytes, state.latency_us) = (None, 0);
        (state.next_write, state.next_sync, state.changes_left) = (None, None, None);
    }
}

/// What a judge asks.
impl Disk {
    /// The same, as another disk: names, files, and what is not safe of them. No file of it is open.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().copy())))
    }

    /// All files with their names, as a process sees them.
    pub fn seen(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.borrow();
        let of =
            |(name, id): (&String, &Id)| (name.clone(), state.files[id].content.cache().to_vec());
        state.names.now().iter().map(of).collect()
    }

    /// All files with their names, as they are on the platter: what a loss of power leaves at least.
    pub fn safe(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.borrow();
        let of =
            |(name, id): (&String, &Id)| (name.clone(), state.files[id].content.platter().to_vec());
        state.names.safe().iter().map(of).collect()
    }

    /// The damage that was done since the start, in order, with the names of that time. Some of it may be
    /// overwritten by now.
    pub fn damage(&self) -> Vec<Damage> {
        self.0.borrow().damage.clone()
    }

    /// What is damaged now, by file and place: where the platter is not as that of a disk would be that keeps what it
    /// says. What a loss of power did to writes that were not safe is no damage.
    pub fn damaged(&self) -> Vec<Place> {
        self.0.borrow_mut().damaged()
    }

    /// Whether any of these bytes of a file is damaged now.
    pub fn is_damaged(&self, file: &str, bytes: &Range<u64>) -> bool {
        let overlaps = |place: Place| {
            place.file == file && place.at < bytes.end && bytes.start < place.at + place.length
        };
        self.damaged().into_iter().any(overlaps)
    }

    /// How much it did.
    pub fn counts(&self) -> Counts {
        self.0.borrow().counts
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.borrow().names.now().keys().cloned().collect::<Vec<_>>();
        to.debug_tuple("Disk").field(&names).finish()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_tuple("File").field(&self.disk.borrow().names.name(self.id)).finish()
    }
}
