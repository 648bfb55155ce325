#!/usr/bin/env bash
# stateright 0.31.0: the counterexample of a breadth-first search is not the shortest.
#
# A good engineer would guess that `spawn_bfs` with one thread reports the first violation that it meets, which in a
# breadth-first search is one of the shortest; that is why one prefers it to a depth-first search.
#
# What happens: as long as another property has no discovery, each further state that violates a property replaces
# what was found before. The path that is reported is that to the *last* such state, however deep.
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
use stateright::{Checker, Model, Property};

/// Counts to twenty. From three on a property is violated.
struct Count {
    /// Whether another property stays open, for it holds.
    has_another: bool,
}

impl Model for Count {
    type State = u8;
    type Action = ();

    fn init_states(&self) -> Vec<u8> {
        vec![0]
    }

    fn actions(&self, state: &u8, actions: &mut Vec<()>) {
        actions.extend((*state < 20).then_some(()));
    }

    fn next_state(&self, state: &u8, _: ()) -> Option<u8> {
        Some(state + 1)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![Property::<Self>::always("below three", |_, state| *state < 3)];
        if self.has_another {
            all.push(Property::<Self>::always("below a hundred", |_, state| *state < 100));
        }
        all
    }
}

fn main() {
    let steps = |has_another| {
        let checker = Count { has_another }.checker().spawn_bfs().join();
        checker.discovery("below three").expect("it is violated").into_actions().len()
    };
    let (alone, beside) = (steps(false), steps(true));
    println!("the property alone: {alone} steps; beside one that holds: {beside} steps");
    assert_eq!((alone, beside), (3, 20), "another behaviour than was found");
}
RUST
cargo tree --quiet --depth 1 --prefix none | tail -n +2
cargo run --quiet
echo "stateright 0.31.0: the last violation is reported, not the first"
