//! A disk in memory that never fails, so that a fuzzer's every run is short.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, ErrorKind},
    rc::Rc,
};

use kv::journal::disk::{Disk, DiskFile};

/// The bytes of a file.
pub type Bytes = Rc<RefCell<Vec<u8>>>;

/// A folder in memory. Its clones are the same folder.
#[derive(Clone, Debug, Default)]
pub struct Memory(pub Rc<RefCell<BTreeMap<String, Bytes>>>);

/// A file in memory.
#[derive(Debug)]
pub struct MemoryFile(Bytes);

impl Disk for Memory {
    type File = MemoryFile;

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.borrow().keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        let mut files = self.0.borrow_mut();
        if files.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let file = files.entry(name.to_string()).or_default();
        Ok(MemoryFile(file.clone()))
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let files = self.0.borrow();
        files.get(name).cloned().map(MemoryFile).ok_or(ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.0.borrow_mut();
        let file = files.remove(from).ok_or(ErrorKind::NotFound)?;
        files.insert(to.to_string(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.0.borrow_mut().remove(name);
        removed.map(drop).ok_or(ErrorKind::NotFound.into())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.borrow().len() as u64)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.borrow();
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let count = into.len().min(bytes.len() - from);
        into[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, at: u64, new: &[u8]) -> io::Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        let mut bytes = self.0.borrow_mut();
        let from = usize::try_from(at).map_err(|_| ErrorKind::FileTooLarge)?;
        let end = from + new.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[from..end].copy_from_slice(new);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_what_every_disk_must_keep() {
        kv::journal::contract::keeps(&Memory::default());
    }
}
