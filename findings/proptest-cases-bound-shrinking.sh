#!/usr/bin/env bash
# proptest 1.12.0: how many cases are run decides how far a failure is shrunk.
#
# A good engineer would guess that `ProptestConfig::with_cases(24)` makes a slow test shorter while it passes, and
# that a failure is shrunk as far as it can be, however few cases led to it.
#
# What happens: unless `max_shrink_iters` is said, shrinking ends after four tries for each case: 96 here. A list of
# forty numbers is left nearly as it was drawn. With `max_shrink_iters` the same failure ends at forty times the least.
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
proptest = { version = "=1.12.0", default-features = false, features = ["std"] }
TOML
cat > src/main.rs <<'RUST'
use proptest::{
    collection::vec,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};

/// How many of the numbers of the least list that fails are not the least that they can be.
fn not_shrunk(config: Config) -> usize {
    let config = Config { failure_persistence: None, ..config };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let lists = vec(100_000u32..1_000_000, 40..60);
    let failed = TestRunner::new_with_rng(config, random)
        .run(&lists, |_| Err(TestCaseError::fail("each list fails")));
    let Err(TestError::Fail(_, least)) = failed else { panic!("{failed:?}") };
    least.iter().filter(|number| **number > 100_000).count()
}

fn main() {
    let few = not_shrunk(Config::with_cases(24));
    let said = not_shrunk(Config { max_shrink_iters: 100_000, ..Config::with_cases(24) });
    println!("24 cases: {few} numbers are not shrunk; with max_shrink_iters: {said}");
    assert!(few > 20 && said == 0, "another behaviour than was found");
}
RUST
cargo tree --quiet --depth 1 --prefix none | tail -n +2
env -u PROPTEST_CASES -u PROPTEST_MAX_SHRINK_ITERS cargo run --quiet
echo "proptest 1.12.0: with_cases(24) shrinks by 96 tries"
