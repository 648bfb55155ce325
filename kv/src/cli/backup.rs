//! `orrery backup`: what a cluster holds, into a folder.
//!
//! Each part of the slots is read from all members that answer, and of each key the newest record is taken. So it has
//! every write that a majority had acknowledged before the part was read, as long as no more members are silent than
//! a majority of the owners can do without.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{
    NodeArgs,
    client::{Answer, Connection, Progress, reason, say},
    parts::Parts,
};
use crate::{
    core::{
        record::{Record, Version},
        ring::{RING_SIZE, slot_of},
        time::Timestamp,
        types::{Key, Slot, Value},
    },
    resp::command::MOST_LISTED,
};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Args)]
pub struct BackupArgs {
    /// The folder; it is made if it is not there. One with a part of a backup is gone on with.
    dir: PathBuf,
    /// Give up when the ring changes, or too many members are silent, for so many seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u32,
    #[command(flatten)]
    node: NodeArgs,
}

impl BackupArgs {
    /// Whether what it says is for a program.
    pub fn wants_json(&self) -> bool {
        self.node.json
    }
}

/// What of RING matters here.
#[derive(Deserialize)]
struct Ring {
    cluster: String,
    epoch: u64,
    replication: usize,
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    id: String,
    client: Option<String>,
    state: String,
}

impl Ring {
    /// How many members may be silent: of as many owners as a slot has at least, a majority is left.
    fn may_be_silent(&self) -> usize {
        let count = |other: &str| self.members.iter().filter(|m| m.state != other).count();
        let stay = |m: &&Member| m.state != "Leaving" && m.state != "Evicted";
        // A slot's old owners, and its new ones.
        let fewest = count("Joining").min(self.members.iter().filter(stay).count());
        (self.replication.min(fewest).max(1) - 1) / 2
    }
}

/// The newest record of each key of a part.
type Found = BTreeMap<(Slot, Key), Record>;

struct Backup<'a> {
    args: &'a BackupArgs,
    cluster: String,
    /// A connection to each member, by its address.
    connections: BTreeMap<String, Connection>,
    /// Who was silent when the last part was read: it is not waited for again, as long as it is not needed.
    skipped: BTreeSet<String>,
    /// Who was silent while a part was read.
    silent: BTreeSet<String>,
}

/// Takes a backup.
pub fn run(args: &BackupArgs) -> Result<bool> {
    let mut backup = Backup {
        args,
        cluster: String::new(),
        connections: BTreeMap::new(),
        skipped: BTreeSet::new(),
        silent: BTreeSet::new(),
    };
    backup.cluster = backup.ring()?.cluster;
    let (parts, shown) = (Parts::make(&args.dir)?, args.dir.display());
    let all = Parts::all().count();
    let (before, mut records, mut values) = backup.before(&parts)?;
    ensure!(before < all, "{shown} has a whole backup already; give another folder");
    let mut progress = Progress::default();
    for (at, slots) in Parts::all().enumerate() {
        if parts.has(&slots) {
            continue;
        }
        let found = backup.part(&slots)?;
        parts.write(
            &backup.cluster,
            &slots,
            found.iter().map(|((_, key), record)| (key, record)),
        )?;
        records += found.len();
        values += found.values().filter(|record| record.value.is_some()).count();
        progress.show(&format_args!("part {} of {all}, {records} records", at + 1));
    }
    progress.end();
    let (cluster, silent) = (&backup.cluster, &backup.silent);
    if args.node.json {
        say(&json!({
            "folder": args.dir, "cluster": cluster, "parts": all - before, "parts_before": before,
            "records": records, "values": values, "silent": silent,
        }))?;
        return Ok(true);
    }
    let mut text = format!("{shown}: {records} records, {values} of them with a value");
    if before > 0 {
        text += &format!("; {before} of the {all} parts were there before");
    }
    if !silent.is_empty() {
        let silent: Vec<&str> = silent.iter().map(String::as_str).collect();
        text += &format!("; {} did not answer, the others were enough", silent.join(", "));
    }
    say(&text)?;
    Ok(true)
}

impl Backup<'_> {
    /// Looks at the parts that are there: how many there are, with how many records, and values.
    fn before(&self, parts: &Parts) -> Result<(usize, usize, usize)> {
        let (mut count, mut records, mut values) = (0, 0, 0);
        for slots in Parts::all().filter(|slots| parts.has(slots)) {
            let again = "remove that file, and the part is taken anew";
            let mut part = parts.read(&slots).context(again)?;
            ensure!(
                part.cluster == self.cluster,
                "{} has a part of a backup of the cluster {}, and this is {}; give another folder",
                self.args.dir.display(),
                part.cluster,
                self.cluster
            );
            while let Some((_, record)) = part.next().context(again)? {
                records += 1;
                values += usize::from(record.value.is_some());
            }
            count += 1;
        }
        Ok((count, records, values))
    }

    fn ring(&mut self) -> Result<Ring> {
        let connect = self.args.node.connect.clone();
        match self.ask(&connect, &["RING".to_string()])? {
            Answer::Bytes(text) => Ok(serde_json::from_str(&text)?),
            other => Err(anyhow!(reason(other))),
        }
    }

    /// Asks a node. A connection that failed is forgotten.
    fn ask(&mut self, address: &str, words: &[String]) -> Result<Answer> {
        let mut connection = match self.connections.remove(address) {
            Some(connection) => connection,
            None => Connection::to(address)?,
        };
        let answer = connection.ask(words)?;
        self.connections.insert(address.to_string(), connection);
        Ok(answer)
    }

    /// Reads a part: again where the ring changed meanwhile.
    fn part(&mut self, slots: &RangeInclusive<u16>) -> Result<Found> {
        let (begun, patience) = (Instant::now(), Duration::from_secs(self.args.timeout.into()));
        loop {
            match self.try_part(slots) {
                Ok(found) => return Ok(found),
                Err(why) if begun.elapsed() > patience => {
                    return Err(why.context(format!(
                        "slots {} to {} could not be read; what is there is kept, and the same command goes on",
                        slots.start(),
                        slots.end()
                    )));
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    fn try_part(&mut self, slots: &RangeInclusive<u16>) -> Result<Found> {
        let ring = self.ring()?;
        ensure!(
            ring.cluster == self.cluster,
            "the node is of the cluster {} now, and was of {}",
            ring.cluster,
            self.cluster
        );
        let (mut found, mut silent) = (Found::new(), Vec::new());
        for member in &ring.members {
            let read = match &member.client {
                _ if self.skipped.contains(&member.id) => Err(anyhow!("it was silent before")),
                Some(client) => self.read(client, (&member.id, ring.epoch), slots, &mut found),
                None => Err(anyhow!("nobody knows where clients reach it")),
            };
            if let Err(why) = read {
                silent.push((member.id.clone(), why));
            }
        }
        let (count, most) = (silent.len(), ring.may_be_silent());
        if count > most {
            // Next time all are asked again.
            self.skipped.clear();
            let (id, why) = silent.pop().expect("one of them");
            return Err(why.context(format!(
                "{count} of {} members could not be read, {id} among them, and {most} may be silent",
                ring.members.len()
            )));
        }
        self.skipped = silent.into_iter().map(|(id, _)| id).collect();
        self.silent.extend(self.skipped.iter().cloned());
        Ok(found)
    }

    /// Adds what a member holds.
    fn read(
        &mut self,
        client: &str,
        (id, epoch): (&str, u64),
        slots: &RangeInclusive<u16>,
        found: &mut Found,
    ) -> Result<()> {
        let mut words = ["RECORDS", "LIST"].map(String::from).to_vec();
        words.extend([slots.start().to_string(), slots.end().to_string(), MOST_LISTED.to_string()]);
        loop {
            let page = match self.ask(client, &words)? {
                Answer::All(answers) => {
                    Page::of(answers).context("the node is no node of Orrery")?
                }
                other => bail!(reason(other)),
            };
            // Another process may be at the address of one that is gone.
            let is_it = page.cluster == self.cluster && page.id == id;
            ensure!(is_it, "{} of the cluster {} is at its address", page.id, page.cluster);
            ensure!(page.epoch == epoch, "the ring changed meanwhile");
            if let Some((key, _)) = page.records.last() {
                words.truncate(5);
                words.push(key.as_str().to_string());
            }
            for (key, record) in page.records {
                let slot = slot_of(key.as_str(), RING_SIZE);
                let newest = found.entry((slot, key)).or_insert_with(|| record.clone());
                if record.wins_over(newest.version) {
                    *newest = record;
                }
            }
            if page.is_last {
                return Ok(());
            }
        }
    }
}

/// What RECORDS LIST answers.
struct Page {
    cluster: String,
    id: String,
    epoch: u64,
    is_last: bool,
    records: Vec<(Key, Record)>,
}

impl Page {
    fn of(answers: Vec<Answer>) -> Option<Self> {
        let mut answers = answers.into_iter();
        let (Answer::Bytes(cluster), Answer::Bytes(id), Answer::Bytes(epoch)) =
            (answers.next()?, answers.next()?, answers.next()?)
        else {
            return None;
        };
        let Answer::Number(is_last) = answers.next()? else { return None };
        let mut records = Vec::new();
        while let Some(key) = answers.next() {
            let (Answer::Bytes(key), Answer::Bytes(time), Answer::Bytes(node)) =
                (key, answers.next()?, answers.next()?)
            else {
                return None;
            };
            let value = match answers.next()? {
                Answer::Bytes(value) => Some(Value::trusted(&value)),
                Answer::Nothing => None,
                _ => return None,
            };
            let timestamp = Timestamp(time.parse().ok()?);
            let version = Version { timestamp, node: node.parse().ok()? };
            records.push((Key::trusted(&key), Record { version, value }));
        }
        let is_last = is_last == 1;
        // One that has more and names none would be asked for ever.
        (is_last || !records.is_empty()).then_some(())?;
        Some(Self { cluster, id, epoch: epoch.parse().ok()?, is_last, records })
    }
}
