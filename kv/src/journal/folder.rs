//! A folder of real files.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::disk::{Disk, DiskFile};

/// A folder of real files. What others put there is theirs: it has no names that are folders.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The folder itself, open to be synced.
    this: File,
    /// Whether nothing may be written.
    is_only_read: bool,
}

impl Folder {
    /// Opens a folder that is there.
    ///
    /// # Errors
    ///
    /// There is none, it is no folder, or it may not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let this = File::open(path)?;
        match this.metadata()?.is_dir() {
            true => Ok(Self { path: path.to_path_buf(), this, is_only_read: false }),
            false => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The same, to be read only: what writes to its files fails.
    ///
    /// # Errors
    ///
    /// There is none, it is no folder, or it may not be read.
    pub fn open_to_read(path: &Path) -> io::Result<Self> {
        Ok(Self { is_only_read: true, ..Self::open(path)? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Disk for Folder {
    type File = File;

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        // Values are their owner's: nobody else may read them.
        options.read(true).write(true).create_new(true).mode(0o600);
        options.open(self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(!self.is_only_read).open(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.this.sync_all()
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match std::os::unix::fs::FileExt::read_at(self, &mut into[done..], at + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::contract;

    #[test]
    fn a_folder_of_real_files_is_a_disk() {
        let temporary = tempfile::tempdir().unwrap();
        contract::keeps(&Folder::open(temporary.path()).unwrap());
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let missing = Folder::open(&temporary.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let file = temporary.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(Folder::open(&file).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn folders_within_are_not_the_journals() {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::create_dir(temporary.path().join("lost+found")).unwrap();
        let folder = Folder::open(temporary.path()).unwrap();
        assert_eq!(folder.names().unwrap(), [""; 0]);
    }
}
