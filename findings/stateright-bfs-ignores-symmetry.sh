#!/usr/bin/env bash
# stateright 0.31.0: symmetry reduction is switched on, and a breadth-first search does not reduce.
#
# A good engineer would guess that `.symmetry()` on a checker's builder applies to whatever search is spawned from it,
# or that a search which cannot reduce refuses the builder.
#
# What happens: `spawn_dfs` keeps one state of each class, and `spawn_bfs` takes the same builder and visits them all.
# There is no error and no word about it; only the number of states tells.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
stateright = "=0.31.0"
TOML
cat > src/main.rs <<'RUST'
use stateright::{Checker, Model, Property, Representative};

/// Four equal counters, each from zero to two.
struct Counters;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Counts(Vec<u8>);

impl Representative for Counts {
    /// Which counter is which does not matter.
    fn representative(&self) -> Self {
        let mut sorted = self.0.clone();
        sorted.sort();
        Counts(sorted)
    }
}

impl Model for Counters {
    type State = Counts;
    type Action = usize;

    fn init_states(&self) -> Vec<Counts> {
        vec![Counts(vec![0; 4])]
    }

    fn actions(&self, counts: &Counts, actions: &mut Vec<usize>) {
        actions.extend((0..4).filter(|place| counts.0[*place] < 2));
    }

    fn next_state(&self, counts: &Counts, place: usize) -> Option<Counts> {
        let mut next = counts.clone();
        next.0[place] += 1;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::<Self>::always("below three", |_, counts| counts.0.iter().all(|n| *n < 3))]
    }
}

fn main() {
    let plain = Counters.checker().spawn_bfs().join().unique_state_count();
    let breadth = Counters.checker().symmetry().spawn_bfs().join().unique_state_count();
    let depth = Counters.checker().symmetry().spawn_dfs().join().unique_state_count();
    println!("states without symmetry: {plain}");
    println!("with .symmetry(): breadth first {breadth}, depth first {depth}");
    assert_eq!((plain, breadth, depth), (81, 81, 15), "another behaviour than was found");
}
RUST
cargo tree --quiet --depth 1 --prefix none | tail -n +2
cargo run --quiet
echo "stateright 0.31.0: a breadth-first search ignores .symmetry()"
