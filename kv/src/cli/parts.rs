//! The files of a backup: one for each part of the slots, a line of JSON for each record, and a checksum at the end.
//! A part has its name only once it is whole and on the disk.

use std::{
    fs::{self, File, TryLockError},
    io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use crc::{CRC_32_ISCSI, Crc, Digest, Table};
use serde::{Deserialize, Serialize};

use crate::core::{
    record::{Record, Version},
    ring::RING_SIZE,
    time::Timestamp,
    types::{Key, NodeId, Value},
};

/// The version of the format.
const FORMAT: u32 = 1;
/// How many slots a part has.
const SLOTS: u16 = 256;
/// The longest line, in bytes: one with a key and a value of the longest kind that any node takes, escaped.
const MOST: u64 = 1024 * 1024;

static CASTAGNOLI: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    orrery_backup: u32,
    /// The cluster that it is of.
    pub cluster: String,
    first_slot: u16,
    last_slot: u16,
}

/// A line of a record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    time: u64,
    node: u32,
    value: Option<String>,
}

/// The last line. The checksum is over all lines before it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    records: u64,
    crc32c: String,
}

/// The folder of a backup.
#[derive(Debug)]
pub struct Parts {
    path: PathBuf,
    /// The folder itself: locked, where it is written to.
    this: File,
}

impl Parts {
    /// All parts, by their slots.
    pub fn all() -> impl Iterator<Item = RangeInclusive<u16>> {
        (0..RING_SIZE).step_by(SLOTS.into()).map(|first| first..=first + (SLOTS - 1))
    }

    /// A folder to write to, made if it is not there. Nobody else writes to it.
    ///
    /// # Errors
    ///
    /// It can't be made, or another command writes to it.
    pub fn make(folder: &Path) -> Result<Self> {
        let shown = folder.display();
        fs::create_dir_all(folder).with_context(|| format!("{shown} cannot be made"))?;
        let this = File::open(folder).with_context(|| format!("{shown} cannot be read"))?;
        match this.try_lock() {
            Ok(()) => Ok(Self { path: folder.to_path_buf(), this }),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another command takes a backup into {shown}; wait for it, or give another folder"
                )
            }
            Err(TryLockError::Error(why)) => Err(why).context(format!("{shown} cannot be locked")),
        }
    }

    /// A folder that has all parts of one cluster.
    ///
    /// # Errors
    ///
    /// It hasn't.
    pub fn open(folder: &Path) -> Result<Self> {
        let shown = folder.display();
        let this = File::open(folder).with_context(|| format!("{shown} cannot be read"))?;
        ensure!(folder.is_dir(), "{shown} is a file; a backup is a folder");
        let parts = Self { path: folder.to_path_buf(), this };
        let all = Self::all().count();
        let missing = Self::all().filter(|slots| !parts.path(slots).is_file()).count();
        ensure!(missing < all, "{shown} has no backup in it");
        ensure!(
            missing == 0,
            "{shown} has {} of the {all} parts of a backup: it was not finished; orrery backup {shown} goes on \
             with it",
            all - missing
        );
        Ok(parts)
    }

    fn path(&self, slots: &RangeInclusive<u16>) -> PathBuf {
        self.path.join(format!("slots-{:05}-{:05}.jsonl", slots.start(), slots.end()))
    }

    /// Whether a part is there.
    pub fn has(&self, slots: &RangeInclusive<u16>) -> bool {
        self.path(slots).is_file()
    }

    /// Begins to read a part.
    ///
    /// # Errors
    ///
    /// It is not there, or it does not begin as one.
    pub fn read(&self, slots: &RangeInclusive<u16>) -> Result<Part> {
        let path = self.path(slots);
        let shown = path.display().to_string();
        let file = File::open(&path).with_context(|| format!("{shown} cannot be read"))?;
        let mut part = Part {
            shown,
            reader: BufReader::new(file),
            digest: CASTAGNOLI.digest(),
            records: 0,
            cluster: String::new(),
        };
        let line = part.line()?;
        let Ok(head) = serde_json::from_slice::<Head>(&line) else {
            bail!("{} does not begin as a part of a backup", part.shown);
        };
        ensure!(
            head.orrery_backup == FORMAT,
            "{} has version {} of the format; this program reads version {FORMAT}",
            part.shown,
            head.orrery_backup
        );
        let is_here = (head.first_slot, head.last_slot) == (*slots.start(), *slots.end());
        ensure!(is_here, "{} is another part than its name says", part.shown);
        part.cluster = head.cluster;
        part.digest.update(&line);
        Ok(part)
    }

    /// Writes a part: it is there when all of it is on the disk. How many bytes it has.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub fn write<'a>(
        &self,
        cluster: &str,
        slots: &RangeInclusive<u16>,
        records: impl Iterator<Item = (&'a Key, &'a Record)>,
    ) -> Result<()> {
        let path = self.path(slots);
        let unfinished = path.with_extension("unfinished");
        let write = || -> Result<()> {
            let mut writer = BufWriter::new(File::create(&unfinished)?);
            let (mut digest, mut count) = (CASTAGNOLI.digest(), 0);
            let mut add = |line: &[u8], writer: &mut BufWriter<File>| {
                digest.update(line);
                digest.update(b"\n");
                writer.write_all(line).and_then(|()| writer.write_all(b"\n"))
            };
            let (first_slot, last_slot) = (*slots.start(), *slots.end());
            let head =
                Head { orrery_backup: FORMAT, cluster: cluster.into(), first_slot, last_slot };
            add(&serde_json::to_vec(&head)?, &mut writer)?;
            for (key, Record { version, value }) in records {
                let line = Line {
                    key: key.as_str().into(),
                    time: version.timestamp.0,
                    node: version.node.0,
                    value: value.as_ref().map(|value| value.as_str().into()),
                };
                add(&serde_json::to_vec(&line)?, &mut writer)?;
                count += 1;
            }
            let end = End { records: count, crc32c: format!("{:08x}", digest.finalize()) };
            writer.write_all(&serde_json::to_vec(&end)?)?;
            writer.write_all(b"\n")?;
            writer.into_inner()?.sync_all()?;
            fs::rename(&unfinished, &path)?;
            self.this.sync_all()?;
            Ok(())
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// A part that is being read.
pub struct Part {
    shown: String,
    reader: BufReader<File>,
    digest: Digest<'static, u32, Table<16>>,
    records: u64,
    /// The cluster that it is of.
    pub cluster: String,
}

impl Part {
    /// A line with its end.
    fn line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        let read = (&mut self.reader).take(MOST).read_until(b'\n', &mut line);
        read.with_context(|| format!("{} cannot be read", self.shown))?;
        ensure!(line.ends_with(b"\n"), "{} is not whole: its end is missing", self.shown);
        Ok(line)
    }

    /// The next record; none behind the last one, when all of them are as they were written.
    ///
    /// # Errors
    ///
    /// It can't be read, or is not as it was written.
    pub fn next(&mut self) -> Result<Option<(Key, Record)>> {
        let line = self.line()?;
        if let Ok(Line { key, time, node, value }) = serde_json::from_slice(&line) {
            self.digest.update(&line);
            self.records += 1;
            let version = Version { timestamp: Timestamp(time), node: NodeId(node) };
            let value = value.map(|value| Value::trusted(&value));
            return Ok(Some((Key::trusted(&key), Record { version, value })));
        }
        let crc32c = format!("{:08x}", self.digest.clone().finalize());
        let end: Option<End> = serde_json::from_slice(&line).ok();
        let is_whole = end.is_some_and(|end| end.records == self.records && end.crc32c == crc32c);
        let is_end = self.reader.fill_buf().is_ok_and(<[u8]>::is_empty);
        ensure!(is_whole && is_end, "{} is damaged: it is not as it was written", self.shown);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(time: u64, value: Option<&str>) -> Record {
        let version = Version { timestamp: Timestamp(time), node: NodeId(3) };
        Record { version, value: value.map(Value::trusted) }
    }

    fn read_all(parts: &Parts) -> Result<Vec<(Key, Record)>> {
        let mut part = parts.read(&(0..=255))?;
        assert_eq!(part.cluster, "c1");
        let mut found = Vec::new();
        while let Some(record) = part.next()? {
            found.push(record);
        }
        Ok(found)
    }

    #[test]
    fn a_part_is_read_as_it_was_written_and_refused_after_any_change() {
        let folder = tempfile::tempdir().unwrap();
        let parts = Parts::make(folder.path()).unwrap();
        let records = [
            (Key::trusted(""), record(u64::MAX, Some(""))),
            (Key::trusted("two\nlines"), record(1, Some("\"\u{0}\u{1f980}"))),
            (Key::trusted("z"), record(0, None)),
        ];
        let shown = || records.iter().map(|(key, record)| (key, record));
        parts.write("c1", &(0..=255), shown()).unwrap();
        assert_eq!(read_all(&parts).unwrap(), records);
        let path = parts.path(&(0..=255));
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            for changed in [bytes[..at].to_vec(), {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1;
                bytes
            }] {
                // That of another cluster is found by who compares them.
                let is_name = changed.len() == bytes.len()
                    && (0..bytes.len()).contains(&at)
                    && bytes[at..].starts_with(b"c1")
                        | bytes[at.saturating_sub(1)..].starts_with(b"c1");
                fs::write(&path, &changed).unwrap();
                if !is_name {
                    assert!(read_all(&parts).is_err(), "byte {at}");
                }
            }
        }
        fs::write(&path, [&bytes[..], b"\n"].concat()).unwrap();
        assert!(read_all(&parts).is_err(), "something follows");
    }

    #[test]
    fn a_folder_without_all_parts_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let why = |parts: Result<Parts>| parts.unwrap_err().to_string();
        assert!(why(Parts::open(&folder.path().join("nowhere"))).contains("cannot be read"));
        assert!(why(Parts::open(folder.path())).contains("has no backup in it"));
        let parts = Parts::make(folder.path()).unwrap();
        assert!(why(Parts::make(folder.path())).contains("another command takes a backup into"));
        parts.write("c1", &(0..=255), [].into_iter()).unwrap();
        assert!(why(Parts::open(folder.path())).contains("has 1 of the 64 parts"));
    }
}
