//! The ring's speed with a hundred members: from a key to its owners, and a new owner table.
//!
//! `cargo run --release -p kv --example ring_speed`. What each is measured against is measured in the
//! same run, in turn, and medians are printed: on a machine that others use too, only the ratios mean
//! something.

#![allow(clippy::disallowed_types)] // It measures time.

use std::{
    collections::BTreeMap,
    hint::black_box,
    io::{self, Write as _},
    sync::Arc,
    time::Instant,
};

use clap::Parser;

use kv::core::{
    ring::{Member, MemberState, RING_SIZE, Ring, allocate, slot_of},
    types::{NodeId, Slot},
};

const MEMBERS: usize = 100;
const KEYS: usize = 100_000;

#[derive(Parser)]
struct Options {
    /// How often each is measured.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
}

/// A ring of three members that ninety-seven joined, one after the other.
fn grown(replication: usize) -> Ring {
    let addresses: Vec<String> = (1..=3).map(|n| format!("host{n}:17001")).collect();
    let mut ring = Ring::form(&addresses, replication.min(3), RING_SIZE).expect("a small ring");
    for id in 4..=MEMBERS {
        let mut members = ring.members().clone();
        let tokens = allocate::join(&members, 1, replication, RING_SIZE).expect("there is room");
        for tokens in tokens {
            let id = u32::try_from(id).expect("a hundred");
            let (address, client) = (format!("host{id}:17001"), String::new());
            members.insert(
                NodeId(id),
                Member { address, client, instance: 0, state: MemberState::Active, tokens },
            );
        }
        ring = ring.next(members).expect("a member with tokens of its own");
    }
    ring
}

/// The first distinct members clockwise, by the tree of tokens: a ring without a table.
fn walk(tokens: &BTreeMap<Slot, NodeId>, slot: Slot, replication: usize) -> Vec<NodeId> {
    let mut owners = Vec::with_capacity(replication);
    for (_, id) in tokens.range(slot..).chain(tokens.range(..slot)) {
        if owners.len() == replication {
            break;
        }
        if !owners.contains(id) {
            owners.push(*id);
        }
    }
    owners
}

/// The medians of two times in nanoseconds, measured in turn.
fn medians(rounds: u16, mut ours: impl FnMut(), mut theirs: impl FnMut()) -> (f64, f64) {
    let time = |work: &mut dyn FnMut()| {
        let begun = Instant::now();
        work();
        begun.elapsed().as_nanos() as f64
    };
    let (mut a, mut b): (Vec<f64>, Vec<f64>) =
        (0..rounds).map(|_| (time(&mut ours), time(&mut theirs))).unzip();
    a.sort_by(f64::total_cmp);
    b.sort_by(f64::total_cmp);
    (a[a.len() / 2], b[b.len() / 2])
}

fn main() -> io::Result<()> {
    let (rounds, mut out) = (Options::parse().rounds, io::stdout());
    let keys: Vec<String> = (0..KEYS).map(|n| format!("user:{n:08}")).collect();
    writeln!(out, "{MEMBERS} members, medians of {rounds} rounds")?;
    for replication in [3, 5] {
        let ring = at_replication(&grown(replication), replication);
        let tokens: BTreeMap<Slot, NodeId> = (ring.members().iter())
            .flat_map(|(id, member)| member.tokens.iter().map(|token| (*token, *id)))
            .collect();
        writeln!(
            out,
            "R = {replication}: {} tokens, {} owner sets",
            tokens.len(),
            ring.owner_sets().count()
        )?;

        let lookup = || {
            for key in &keys {
                black_box(Arc::as_ref(ring.owners(ring.slot_of(black_box(key)))).all());
            }
        };
        let hash = || {
            for key in &keys {
                black_box(slot_of(black_box(key), RING_SIZE));
            }
        };
        let tree = || {
            for key in &keys {
                black_box(walk(&tokens, slot_of(black_box(key), RING_SIZE), replication));
            }
        };
        let per_key = |total: f64| total / KEYS as f64;
        let (ours, theirs) = medians(rounds, lookup, hash);
        let (ours, theirs) = (per_key(ours), per_key(theirs));
        writeln!(
            out,
            "  key to owners   {ours:>9.1} ns  {:>6.2} of the CRC alone ({theirs:.1} ns)",
            ours / theirs
        )?;
        let (ours, theirs) = medians(rounds, lookup, tree);
        let (ours, theirs) = (per_key(ours), per_key(theirs));
        writeln!(
            out,
            "                  {ours:>9.1} ns  {:>6.2} of a walk in a tree of tokens ({theirs:.1} ns)",
            ours / theirs
        )?;

        let rebuild = || {
            black_box(ring.next(black_box(ring.members()).clone()).expect("the same members"));
        };
        let walks = || {
            for slot in 0..RING_SIZE {
                black_box(walk(&tokens, Slot(slot), replication));
            }
        };
        let (ours, theirs) = medians(rounds, rebuild, walks);
        let (ours, theirs) = (ours / 1e3, theirs / 1e3);
        writeln!(
            out,
            "  owner table     {ours:>9.1} us  {:>6.2} of a walk for each slot ({theirs:.1} us)",
            ours / theirs
        )?;
        let join = || {
            black_box(allocate::join(ring.members(), 1, replication, RING_SIZE).expect("room"));
        };
        let (ours, theirs) = medians(rounds, join, walks);
        let (ours, theirs) = (ours / 1e3, theirs / 1e3);
        writeln!(
            out,
            "  tokens of a join{ours:>9.1} us  {:>6.2} of a walk for each slot ({theirs:.1} us)",
            ours / theirs
        )?;
    }
    Ok(())
}

fn at_replication(ring: &Ring, replication: usize) -> Ring {
    let addresses: Vec<String> = (1..=replication).map(|n| format!("host{n}:17001")).collect();
    let base = Ring::form(&addresses, replication, RING_SIZE).expect("a small ring");
    base.next(ring.members().clone()).expect("the same members")
}
