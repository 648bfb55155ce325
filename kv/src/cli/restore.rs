//! `orrery restore`: a backup into a cluster.
//!
//! Each record is written with the version that it has: what is newer in the cluster stays, and to restore twice
//! changes nothing.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use serde_json::json;

use super::{
    NodeArgs,
    client::{Answer, Connection, Progress, reason, say},
    parts::Parts,
};
use crate::core::{quorum::Level, record::Record, types::Key};

/// Records under way at once.
const WINDOW: usize = 256;
/// Before what failed is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// What passes by itself: the node is busy, starts, or cannot reach enough of the others.
const FOR_NOW: [&str; 6] = ["BUSY", "TIMEOUT", "UNAVAILABLE", "PAUSED", "CLOCK", "LOADING"];

#[derive(Args)]
pub struct RestoreArgs {
    /// The folder of a backup.
    dir: PathBuf,
    /// Give up when nothing could be written for so many seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u32,
    /// How many owners must have each record: one, quorum or all.
    #[arg(long, default_value_t = Level::Quorum)]
    level: Level,
    #[command(flatten)]
    node: NodeArgs,
}

impl RestoreArgs {
    /// Whether what it says is for a program.
    pub fn wants_json(&self) -> bool {
        self.node.json
    }
}

/// Restores a backup.
pub fn run(args: &RestoreArgs) -> Result<bool> {
    let parts = Parts::open(&args.dir)?;
    let mut restore = Restore { args, connection: None, written: 0 };
    // Whether somebody is there is known before all is checked.
    restore.connection = Some(restore.connect()?);
    let mut progress = Progress::default();
    let (all, mut total, mut cluster) = (Parts::all().count(), 0, None);
    // Nothing is written of a backup that is not whole.
    for (at, slots) in Parts::all().enumerate() {
        let mut part = parts.read(&slots)?;
        let first = cluster.get_or_insert_with(|| part.cluster.clone());
        ensure!(
            *first == part.cluster,
            "{} has parts of backups of two clusters, {first} and {}",
            args.dir.display(),
            part.cluster
        );
        while part.next()?.is_some() {
            total += 1;
        }
        progress.show(&format_args!("checked part {} of {all}, {total} records", at + 1));
    }
    let (mut values, mut window) = (0, Vec::new());
    for slots in Parts::all() {
        let mut part = parts.read(&slots)?;
        while let Some((key, record)) = part.next()? {
            values += u64::from(record.value.is_some());
            window.push((key, record));
            if window.len() == WINDOW {
                restore.write(std::mem::take(&mut window))?;
                progress.show(&format_args!("restored {} of {total} records", restore.written));
            }
        }
    }
    restore.write(window)?;
    progress.end();
    let written = restore.written;
    match args.node.json {
        true => say(&json!({ "cluster": cluster, "records": written, "values": values }))?,
        false => say(&format_args!(
            "{written} records restored, {values} of them with a value; where the cluster had a newer one, that stays"
        ))?,
    }
    Ok(true)
}

struct Restore<'a> {
    args: &'a RestoreArgs,
    connection: Option<Connection>,
    written: u64,
}

impl Restore<'_> {
    /// A connection at the level that was chosen.
    fn connect(&self) -> Result<Connection> {
        let mut connection = Connection::to(&self.args.node.connect)?;
        let level = self.args.level.to_string();
        match connection.ask(&["CONSISTENCY", "WRITE", &level])? {
            Answer::Text(_) => Ok(connection),
            other => Err(anyhow!(reason(other))),
        }
    }

    /// Writes some records, again and again until all are.
    fn write(&mut self, mut records: Vec<(Key, Record)>) -> Result<()> {
        let patience = Duration::from_secs(self.args.timeout.into());
        let mut moved = Instant::now();
        while !records.is_empty() {
            let before = records.len();
            let tried = self.try_write(&mut records);
            self.written += (before - records.len()) as u64;
            if records.len() < before {
                moved = Instant::now();
            }
            match tried {
                Ok(()) => {}
                Err(Failed::ForNow(_)) if moved.elapsed() <= patience => std::thread::sleep(PAUSE),
                Err(Failed::ForNow(why) | Failed::ForGood(why)) => {
                    return Err(why).with_context(|| {
                        format!(
                            "{} records are restored; to restore the backup again does no harm",
                            self.written
                        )
                    });
                }
            }
        }
        Ok(())
    }

    /// Writes records: those that failed are left.
    fn try_write(&mut self, records: &mut Vec<(Key, Record)>) -> Result<(), Failed> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().map_err(Failed::ForNow)?,
        };
        let commands: Vec<Vec<String>> = records.iter().map(command).collect();
        let answers = connection.ask_all(&commands).map_err(Failed::ForNow)?;
        let mut failed = Ok(());
        let mut left = Vec::new();
        for (record, answer) in std::mem::take(records).into_iter().zip(answers) {
            if matches!(answer, Answer::Text(_)) {
                continue;
            }
            left.push(record);
            let why = reason(answer);
            // What is for good counts, whatever comes after it.
            if !matches!(failed, Err(Failed::ForGood(_))) {
                let is_for_now = FOR_NOW.iter().any(|word| why.starts_with(word));
                let kind = if is_for_now { Failed::ForNow } else { Failed::ForGood };
                failed = Err(kind(anyhow!(why)));
            }
        }
        *records = left;
        self.connection = Some(connection);
        failed
    }
}

/// Why records could not be written.
enum Failed {
    /// It may pass.
    ForNow(anyhow::Error),
    /// It will not.
    ForGood(anyhow::Error),
}

fn command((key, Record { version, value }): &(Key, Record)) -> Vec<String> {
    let mut words = ["RECORDS", "RESTORE", key.as_str()].map(String::from).to_vec();
    words.extend([version.timestamp.0.to_string(), version.node.to_string()]);
    words.extend(value.as_ref().map(|value| value.as_str().to_string()));
    words
}
