//! The thread that writes the journal: it writes and syncs what waits, lets go what waited for that, and cleans
//! segments while there is nothing else to do.

use std::{
    sync::{Arc, Weak},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tracing::{error, info};

use super::{ports::ServerNode, settings::Durability};
use crate::{
    journal::{Error, Tidied, folder::Folder, format::Pending, log::Log},
    node::commit::{Commit, Taken},
};

/// With nothing to write for so long, it is written that all is safe: damage of the last batch is noticed then.
const IDLE: Duration = Duration::from_millis(100);
/// Between two syncs, where acknowledgements do not wait for them.
const INTERVAL: Duration = Duration::from_millis(100);

/// The thread, while it runs.
#[derive(Debug)]
pub struct Writer {
    commit: Arc<Commit>,
    thread: JoinHandle<()>,
}

/// What the thread has.
struct Writing {
    log: Log<Folder>,
    commit: Arc<Commit>,
    node: Weak<ServerNode>,
    durability: Durability,
    pending: Pending,
    /// When something was written first that is not safe.
    unsynced_since: Option<Instant>,
    /// All records of the oldest segment that count wait to be written, or are.
    is_cleaned: bool,
}

impl Writer {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// There can be no thread.
    pub fn start(
        log: Log<Folder>,
        pending: Pending,
        commit: Arc<Commit>,
        node: &Arc<ServerNode>,
        durability: Durability,
    ) -> Result<Self> {
        let writing = Writing {
            log,
            commit: commit.clone(),
            node: Arc::downgrade(node),
            durability,
            pending,
            unsynced_since: None,
            is_cleaned: false,
        };
        let run = || {
            if let Err(why) = writing.run() {
                // Nothing that rests on it may leave, and what is on the disk is unknown: only a start finds out.
                error!("the journal cannot be written, and the process ends at once: {why}");
                std::thread::sleep(Duration::from_millis(200));
                std::process::exit(1);
            }
        };
        let thread = std::thread::Builder::new().name("journal".into()).spawn(run);
        Ok(Self { commit, thread: thread.context("the journal's thread cannot be started")? })
    }

    /// Ends it when all is written and safe.
    pub fn end(self) {
        self.commit.close();
        if self.thread.join().is_err() {
            error!("the journal's thread panicked");
        }
    }
}

impl Writing {
    fn run(mut self) -> Result<(), Error> {
        loop {
            let may_do_more = self.do_more()?;
            let patience = self.patience(may_do_more);
            match self.commit.take(&mut self.pending, Some(patience)) {
                Taken::Upto(position) => {
                    self.finish_cleaning()?;
                    self.log.write(&mut self.pending)?;
                    self.unsynced_since.get_or_insert_with(Instant::now);
                    self.sync_if_due()?;
                    self.commit.synced(position);
                    if let Some(node) = self.node.upgrade() {
                        node.durable();
                    }
                }
                Taken::Nothing => {
                    self.finish_cleaning()?;
                    if !may_do_more {
                        self.log.write(&mut self.pending)?;
                    }
                    self.sync_if_due()?;
                }
                Taken::Closed => break,
            }
        }
        self.log.sync()?;
        // Says that all is safe.
        self.log.write(&mut self.pending)?;
        self.log.sync()?;
        info!("the journal is closed");
        Ok(())
    }

    fn patience(&self, may_do_more: bool) -> Duration {
        let until_sync = match (self.durability, self.unsynced_since) {
            (Durability::Interval, Some(since)) => INTERVAL.saturating_sub(since.elapsed()),
            (Durability::Interval | Durability::Always | Durability::None, _) => IDLE,
        };
        if may_do_more { Duration::ZERO } else { until_sync }
    }

    fn sync_if_due(&mut self) -> Result<(), Error> {
        let is_due = self.unsynced_since.is_some_and(|since| match self.durability {
            Durability::Always => true,
            Durability::Interval => since.elapsed() >= INTERVAL,
            Durability::None => false,
        });
        if is_due { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.unsynced_since = None;
        self.log.sync()
    }

    /// A part of what can be done beside: a segment is made ready, or cleaned. True: there is more.
    fn do_more(&mut self) -> Result<bool, Error> {
        if self.is_cleaned {
            return Ok(false);
        }
        let Some(node) = self.node.upgrade() else { return self.log.prepare() };
        let mut entries = Vec::new();
        // Counting takes all locks of shards, one after the other.
        let records = || node.counts().0 as u64;
        match self.log.tidy(records, |entry| entries.push(entry))? {
            Tidied::Nothing => return Ok(false),
            Tidied::Prepared => {}
            Tidied::Cleaned(is_last) => {
                node.append_again(entries);
                self.is_cleaned = is_last;
            }
        }
        Ok(true)
    }

    /// Writes the rest of a segment that is cleaned, behind its records that count: they are among what waits here.
    fn finish_cleaning(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.is_cleaned) {
            return Ok(());
        }
        self.log.cleaned(&mut self.pending);
        self.log.write(&mut self.pending)?;
        // Seldom enough, also where nothing else is synced.
        self.sync()
    }
}
