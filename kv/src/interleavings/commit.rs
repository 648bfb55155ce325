//! Group commit: nobody is told before the sync that covers it, nobody waits for ever, and a sync that fails lets
//! nobody through.

use std::sync::Arc;

use loom::thread;

use super::explore;
use crate::{
    core::{env::Entry, types::Incarnation},
    journal::format::Pending,
    node::{
        Position,
        commit::{Commit, Taken},
        locks::atomic::{AtomicU64, Ordering::SeqCst},
    },
};

fn entry(number: u32) -> Entry {
    Entry::Opened(Incarnation(number))
}

/// A disk that counts what it was given, and what of it is safe.
#[derive(Default)]
struct Disk {
    written: AtomicU64,
    safe: AtomicU64,
}

/// The writer: writes, syncs and tells until nothing will come any more, or until a sync fails. Says how many syncs
/// there were.
fn write(commit: &Commit, disk: &Disk, fails_at: Option<u64>) -> u64 {
    let (mut pending, mut syncs) = (Pending::default(), 0);
    loop {
        match commit.take(&mut pending, None) {
            Taken::Upto(upto) => {
                disk.written.fetch_add(pending.len() as u64, SeqCst);
                pending.clear();
                syncs += 1;
                if fails_at == Some(syncs) {
                    return syncs;
                }
                disk.safe.store(disk.written.load(SeqCst), SeqCst);
                commit.synced(upto);
            }
            Taken::Nothing => panic!("it waits for ever"),
            Taken::Closed => return syncs,
        }
    }
}

/// Appends an entry, and looks: whatever is durable is on the disk.
fn append(commit: &Commit, disk: &Disk, number: u32) -> Position {
    let position = commit.append(&entry(number));
    let Position(durable) = commit.durable();
    assert!(durable <= disk.safe.load(SeqCst), "it is told before it is safe");
    position
}

#[test]
fn loom_what_is_appended_is_safe_before_it_is_told_and_the_writer_always_wakes() {
    explore("commit, two machines and the writer", || {
        let (commit, disk) = (Arc::new(Commit::default()), Arc::new(Disk::default()));
        let shared = (commit.clone(), disk.clone());
        let writer = thread::spawn(move || write(&shared.0, &shared.1, None));
        let shared = (commit.clone(), disk.clone());
        let other = thread::spawn(move || append(&shared.0, &shared.1, 1));
        let mine = append(&commit, &disk, 2);
        let other = other.join().unwrap();
        assert_eq!(mine.0 + other.0, 3, "each has a place of its own");
        commit.close();
        let syncs = writer.join().unwrap();
        assert!((1..=2).contains(&syncs), "{syncs} syncs");
        assert_eq!(commit.durable(), Position(2), "all of it is safe when the writer ends");
        assert_eq!(disk.safe.load(SeqCst), 2);
    });
}

#[test]
fn loom_a_sync_that_fails_lets_nobody_through() {
    explore("commit, a sync that fails", || {
        let (commit, disk) = (Arc::new(Commit::default()), Arc::new(Disk::default()));
        let shared = (commit.clone(), disk.clone());
        let writer = thread::spawn(move || write(&shared.0, &shared.1, Some(1)));
        let shared = (commit.clone(), disk.clone());
        let other = thread::spawn(move || append(&shared.0, &shared.1, 1));
        append(&commit, &disk, 2);
        other.join().unwrap();
        writer.join().unwrap();
        assert_eq!(commit.durable(), Position(0));
        assert_eq!(append(&commit, &disk, 3), Position(3), "nobody hangs");
    });
}
