//! What a journal asks of a disk: a folder of files, and to be told when they are safe.
//!
//! The server has real files ([`super::folder`]); the simulation has a disk that loses what was not synced, tears,
//! rots, fills up and fails. Both pass [`super::contract`].

use std::io;

/// A folder on a disk. Its files have plain names: there are no folders within.
///
/// A name that was given or taken away is safe after [`Disk::sync_names`] only, what was written to a file after
/// [`DiskFile::sync`] only. Until then a loss of power may take back all of it, or any part, in any order.
pub trait Disk {
    /// A file that is open, for reading and writing.
    type File: DiskFile;

    /// The names of all files, in order.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Makes an empty file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] where there is a file of this name, [`io::ErrorKind::StorageFull`], or what
    /// else the disk says.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] where there is none of this name, or what else the disk says.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name, and takes that of another file if there is one: it is gone then.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] where there is none of this name, or what else the disk says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a file's name away. Who has it open can go on with it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] where there is none of this name, or what else the disk says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all names safe, as they are now.
    ///
    /// # Errors
    ///
    /// What the disk says. Nobody knows then which names are safe.
    fn sync_names(&self) -> io::Result<()>;
}

/// A file that is open, for reading and writing.
pub trait DiskFile {
    /// Its length in bytes.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn length(&self) -> io::Result<u64>;

    /// Reads from a place on until `into` is full or the file ends: says how many bytes.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes at a place, all of it. Between the end of the file and the place there are zeros.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::StorageFull`], or what else the disk says. Any part may be written.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes safe what was written to the file, and its length.
    ///
    /// # Errors
    ///
    /// What the disk says. Nobody knows then what is safe, and a later sync does not tell: the system may have dropped
    /// what it could not write (PostgreSQL's developers met this in 2018).
    fn sync(&self) -> io::Result<()>;
}
