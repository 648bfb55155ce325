//! A simulated machine's disk: the journal's side of what the harness gives it.

use std::io;

use kv::journal::disk::{Disk, DiskFile};

/// A simulated disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(pub harness::disk::Disk);

/// A file of a simulated disk.
#[derive(Clone, Debug)]
pub struct SimFile(pub harness::disk::File);

impl Disk for SimDisk {
    type File = SimFile;

    fn names(&self) -> io::Result<Vec<String>> {
        self.0.names()
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        self.0.create(name).map(SimFile)
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        self.0.open(name).map(SimFile)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.0.sync_names()
    }
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(at, into)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(at, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_disk_is_a_disk() {
        for sector_bytes in [8, 512, 4_096] {
            kv::journal::contract::keeps(&SimDisk(harness::disk::Disk::with_sectors(sector_bytes)));
        }
    }
}
