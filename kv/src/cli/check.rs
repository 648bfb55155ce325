//! `orrery check`: what a data folder holds, and whether it is whole. Writes nothing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::client::say;
use crate::{
    journal::{damage::Damage, folder::Folder, scan::scan},
    node::recover::Recovered,
    server,
};

#[derive(Args)]
pub struct CheckArgs {
    /// The data folder of a node: what was given to `orrery serve --data`. The node need not be there.
    dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl CheckArgs {
    /// Whether what it says is for a program.
    pub fn wants_json(&self) -> bool {
        self.json
    }
}

/// What a journal is found to be.
struct Checked {
    folder: PathBuf,
    recovered: Recovered,
    batches: usize,
    entries: u64,
    bytes: u64,
    /// Pages behind the end that somebody began to write.
    cut: u64,
    /// Segments whose first page is not as it should be. What they hold says itself where it belongs.
    headless: Vec<u32>,
    damage: Vec<Damage>,
}

/// Checks a folder. False: something is damaged.
pub fn run(args: &CheckArgs) -> Result<bool> {
    let shown = args.dir.display();
    let members = server::members_in(&args.dir)?;
    let (_, newest) = members.last().with_context(|| {
        format!("{shown} is no data folder of a node, or its node was never a member of a cluster")
    })?;
    let checked = check(newest)?;
    match args.json {
        true => say(&checked.json())?,
        false => say(&checked.text())?,
    }
    Ok(checked.damage.is_empty())
}

fn check(path: &Path) -> Result<Checked> {
    let shown = || path.display().to_string();
    let folder = Folder::open_to_read(path).with_context(shown)?;
    let mut scan = scan(&folder).with_context(shown)?;
    ensure!(scan.folder.is_some(), "{} has no journal", shown());
    let (mut recovered, mut entries) = (Recovered::default(), 0);
    scan.entries(|entry| {
        entries += 1;
        recovered.take(entry);
    })
    .with_context(shown)?;
    let headless = scan.segments.values().filter(|segment| !segment.has_head);
    Ok(Checked {
        folder: path.to_path_buf(),
        recovered,
        batches: scan.batches.len(),
        entries,
        bytes: scan.segments.values().map(|segment| segment.length).sum(),
        cut: scan.cut,
        headless: headless.map(|segment| segment.number).collect(),
        damage: scan.damage,
    })
}

impl Checked {
    fn numbers(&self) -> BTreeMap<&'static str, u64> {
        let records = self.recovered.records();
        let live = records.values().filter(|record| record.value.is_some()).count();
        BTreeMap::from([
            ("batches", self.batches as u64),
            ("bytes", self.bytes),
            ("entries", self.entries),
            ("pages_cut", self.cut),
            ("records", records.len() as u64),
            ("values", live as u64),
        ])
    }

    fn json(&self) -> Value {
        let ring = self.recovered.ring();
        let mut all = json!({
            "folder": self.folder,
            "member": self.recovered.member().map(|member| member.to_string()),
            "cluster": ring.map(|ring| ring.cluster().to_string()),
            "epoch": ring.map(|ring| ring.epoch().0),
            "damage": self.damage.iter().map(Damage::to_string).collect::<Vec<_>>(),
            "segments_without_head": self.headless,
            "is_whole": self.damage.is_empty(),
        });
        for (name, number) in self.numbers() {
            all[name] = number.into();
        }
        all
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("{}", self.folder.display())];
        match (self.recovered.member(), self.recovered.ring()) {
            (Some(member), Some(ring)) => lines.push(format!(
                "  {member} of the cluster {}, in ring {}",
                ring.cluster(),
                ring.epoch().0
            )),
            (_, None) | (None, _) => lines.push("  which member it is of is not in it".into()),
        }
        let numbers = self.numbers();
        lines.push(format!(
            "  {} records, {} of them with a value; {} entries in {} batches; {} bytes",
            numbers["records"], numbers["values"], self.entries, self.batches, self.bytes
        ));
        if self.cut > 0 {
            lines.push(format!(
                "  {} pages behind the end were being written when the node ended: nothing in them was acknowledged",
                self.cut
            ));
        }
        for segment in &self.headless {
            lines.push(format!(
                "  the first page of segment {segment} is damaged; nothing is lost by that"
            ));
        }
        lines.extend(self.damage.iter().map(|damage| format!("  damaged: {damage}")));
        lines.push(match self.damage.is_empty() {
            true => "whole: all that was acknowledged is there".into(),
            false => {
                "damaged: its node comes back as another member, with the records that can be read"
                    .into()
            }
        });
        lines.join("\n")
    }
}
