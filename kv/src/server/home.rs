//! The folder of a process: a journal for each member that it was, of which the latest one counts.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tracing::{info, warn};

use super::identity::Identity;
use crate::{
    core::{
        env::Entry,
        ring::Ring,
        types::{NodeId, Slot},
    },
    journal::{
        self,
        damage::Damage,
        folder::Folder,
        format::Pending,
        log::{Log, Settings},
    },
    node::recover::Recovered,
};

const LOCK: &str = "lock";
const MEMBER: &str = "member-";

/// The folders of members in the folder of a process, in the order in which it was they.
///
/// # Errors
///
/// The folder cannot be read.
pub fn members_in(path: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let mut members = Vec::new();
    for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(number) = name.strip_prefix(MEMBER).and_then(|number| number.parse().ok()) {
            members.push((number, path));
        }
    }
    members.sort();
    Ok(members)
}

/// The folder of a process. No other one has it.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
}

/// A journal that is open, and what was in it.
pub struct Kept {
    pub recovered: Recovered,
    pub log: Log<Folder>,
    /// What is to be written first.
    pub pending: Pending,
}

/// What a folder has of the member that the process was.
pub enum Found {
    /// The process was none.
    Nothing,
    /// It goes on as this one.
    Member(Identity, Box<Kept>),
    /// Something of what it acknowledged is lost: it can only come back as another one.
    Damaged(Damaged),
}

/// A member of which something is lost.
#[derive(Debug)]
pub struct Damaged {
    /// What can be read.
    pub recovered: Recovered,
    /// What can't.
    pub damage: Vec<Damage>,
}

impl Home {
    /// Takes a folder, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// It cannot be made or written, another process has it, or it is somebody else's.
    pub fn take(path: &Path) -> Result<Self> {
        let shown = path.display();
        fs::create_dir_all(path)
            .with_context(|| format!("the data folder {shown} cannot be made (--data)"))?;
        let read =
            || fs::read_dir(path).with_context(|| format!("{shown} cannot be read (--data)"));
        let is_ours = path.join(LOCK).exists();
        for entry in read()? {
            let name = entry?.file_name();
            ensure!(
                is_ours || name == "lost+found",
                "the data folder {shown} is not empty, and no node's: {} is in it; nothing was changed; choose \
                 another one with --data",
                name.display()
            );
        }
        let mut options = fs::OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).open(path.join(LOCK));
        let lock = lock.with_context(|| format!("{shown} cannot be written (--data)"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_path_buf(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another process has the data folder {shown}: end it, or choose another folder with --data"
                )
            }
            Err(TryLockError::Error(why)) => Err(why).context(format!("{shown} cannot be locked")),
        }
    }

    /// Looks for the member that the process was.
    ///
    /// # Errors
    ///
    /// The journal cannot be read, or is another program's. Nothing was changed.
    pub fn find(&self) -> Result<Found> {
        for (_, path) in members_in(&self.path)?.into_iter().rev() {
            let shown = path.display();
            let folder = Folder::open(&path).with_context(|| shown.to_string())?;
            // A process that ended before it was a member left nothing that counts.
            if !journal::log::is_there(&folder)? {
                continue;
            }
            let (mut recovered, mut entries, started) =
                (Recovered::default(), 0_u64, Instant::now());
            let mut told = started;
            let opened = Log::open(folder, Settings::default(), 0, |entry| {
                entries += 1;
                recovered.take(entry);
                if entries.is_multiple_of(8_192) && told.elapsed() >= Duration::from_secs(1) {
                    told = Instant::now();
                    info!("reading the journal in {shown}: {entries} entries so far");
                }
            });
            let log = match opened {
                Ok(log) => log,
                Err(journal::Error::Damaged(damage)) => {
                    return Ok(Found::Damaged(Damaged { recovered, damage }));
                }
                Err(why) => return Err(why).with_context(|| format!("the journal in {shown}")),
            };
            let (Some(me), Some(ring)) = (recovered.member(), recovered.ring().cloned()) else {
                continue;
            };
            info!(
                "the journal in {shown} has {} records of {me}, in ring {}: {entries} entries were read in {:.1?}",
                recovered.records().len(),
                ring.epoch().0,
                started.elapsed(),
            );
            let identity = Identity { ring, me, instance: log.folder() };
            let kept = Kept { recovered, log, pending: Pending::default() };
            return Ok(Found::Member(identity, Box::new(kept)));
        }
        Ok(Found::Nothing)
    }

    /// Begins the journal of a new member, with what it may go on from.
    ///
    /// # Errors
    ///
    /// The disk says so.
    pub fn begin(&self, identity: &Identity, head_start: Recovered) -> Result<Kept> {
        let before = members_in(&self.path)?;
        let number = before.last().map_or(1, |(number, _)| number + 1);
        let path = self.path.join(format!("{MEMBER}{number:04}"));
        let shown = path.display();
        let begin = || -> Result<Log<Folder>> {
            fs::create_dir(&path)?;
            File::open(&self.path)?.sync_all()?;
            let folder = Folder::open(&path)?;
            Ok(Log::open(folder, Settings::default(), identity.instance, |_| {})?)
        };
        let mut log = begin().with_context(|| format!("a journal in {shown} cannot be begun"))?;
        let mut pending = Pending::default();
        head_start.head_start().for_each(|entry| pending.push(&entry));
        pending.push(&Entry::Ring(identity.ring.clone()));
        pending.push(&Entry::Member(identity.me));
        log.write(&mut pending)?;
        log.sync()?;
        // Only now is it the latest one.
        for (_, path) in before {
            if let Err(why) = fs::remove_dir_all(&path) {
                warn!("{} is not needed any more, and cannot be removed: {why}", path.display());
            }
        }
        let mut recovered = head_start;
        recovered.take(Entry::Ring(identity.ring.clone()));
        recovered.take(Entry::Member(identity.me));
        Ok(Kept { recovered, log, pending })
    }
}

impl Damaged {
    /// Whom it can ask for a place as another member.
    ///
    /// # Errors
    ///
    /// Nobody else has what it had, as far as it knows: an operator has to decide.
    pub fn others(&self, is_loss_accepted: bool) -> Result<Vec<String>> {
        let what = journal::Error::Damaged(self.damage.clone());
        let (Some(me), Some(ring)) = (self.recovered.member(), self.recovered.ring()) else {
            bail!(
                "{what}; which member this was is among it: start with an empty --data folder, and --join"
            );
        };
        let alone = only_owner(ring, me);
        if alone > 0 && !is_loss_accepted {
            bail!(
                "{what}; {me} is the only owner of {alone} of {} slots, so what is damaged there is nowhere else: \
                 nothing was changed; put a copy of the folder back, or start with --accept-loss to go on with the {} \
                 records that can be read",
                ring.size(),
                self.recovered.records().len(),
            );
        }
        let others = ring.members().iter().filter(|(id, _)| **id != me);
        let others: Vec<String> = others.map(|(_, member)| member.address.clone()).collect();
        warn!(
            "{what}; none of it is served: this process comes back as another member than {me}, with the {} records \
             that can be read as a head start",
            self.recovered.records().len()
        );
        Ok(others)
    }
}

/// Of how many slots nobody else is an owner.
fn only_owner(ring: &Arc<Ring>, me: NodeId) -> usize {
    let slots = (0..ring.size()).map(Slot);
    slots.filter(|slot| ring.owners(*slot).all().iter().all(|owner| *owner == me)).count()
}
