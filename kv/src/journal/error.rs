//! Why a journal cannot be opened, or not be written.

use std::io;

use super::damage::{Damage, name_of};

/// Why a journal cannot be opened, or not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk fails.
    #[error("{place}: {source}")]
    Disk {
        /// Where.
        place: Place,
        /// What it says.
        source: io::Error,
    },
    /// A segment is of a version that is not known here.
    #[error(
        "{} has version {version} of the format, and this program knows {} only: nothing was changed; start a program \
         that is as new as the one that wrote it",
        name_of(*.segment), super::format::VERSION
    )]
    Newer {
        /// The segment.
        segment: u32,
        /// Its version.
        version: u32,
    },
    /// A segment was put here that belongs elsewhere.
    #[error(
        "{} says that it is {} of folder {:016x}, and this is folder {ours:016x}: nothing was changed; take it away",
        name_of(*.segment), name_of(.says.1), .says.0
    )]
    Foreign {
        /// The segment, by its name.
        segment: u32,
        /// The folder and the segment that it says that it is.
        says: (u64, u32),
        /// The folder.
        ours: u64,
    },
    /// A file has the name of a segment that no journal comes to.
    #[error("{} is no segment of a journal: nothing was changed; take it away", name_of(*.segment))]
    NotOurs {
        /// The segment, by its name.
        segment: u32,
    },
    /// There are segments, and none of them is one.
    #[error(
        "{} is no segment of a journal: nothing was changed; if the folder was meant, what it held is lost, and the \
         node can only come back as a new member, with an empty folder",
        name_of(*.segment)
    )]
    Unreadable {
        /// The first of them.
        segment: u32,
    },
    /// What was safe once is not as it was written.
    #[error("{} of what was acknowledged is damaged or missing: {}", many(.0.len()), list(.0))]
    Damaged(Vec<Damage>),
    /// Segments changed while they were looked at.
    #[error("the folder changed while it was read: another process must have it")]
    Changed,
    /// An earlier write or sync failed: what is on the disk is unknown.
    #[error("the disk failed before, and what is on it is unknown: the process must end")]
    Failed,
}

/// Where a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The folder.
    Folder,
    /// A segment.
    Segment(u32),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder => f.write_str("the journal's folder"),
            Self::Segment(number) => f.write_str(&name_of(*number)),
        }
    }
}

/// So many damages are listed in a message.
const LISTED: usize = 5;

fn many(count: usize) -> String {
    match count {
        1 => "a part".into(),
        count => format!("{count} parts"),
    }
}

fn list(damage: &[Damage]) -> String {
    let mut texts: Vec<String> = damage.iter().take(LISTED).map(Damage::to_string).collect();
    if damage.len() > LISTED {
        texts.push(format!("and {} more", damage.len() - LISTED));
    }
    texts.join("; ")
}

/// Says where a disk failed.
pub(super) trait At<T> {
    /// It was here.
    fn at(self, place: Place) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, place: Place) -> Result<T, Error> {
        self.map_err(|source| Error::Disk { place, source })
    }
}
