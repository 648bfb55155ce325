//! The example of a whole system: its mistake is found, and the mended nodes hold.

#[allow(dead_code, reason = "what the example's main needs is not needed here")]
#[path = "../examples/lock.rs"]
mod example;

use example::{Lock, scenario};
use harness::{run::run, scenario::Scenario, story::story};

#[test]
fn the_mistake_is_found_and_told_and_a_journal_mends_it() {
    let fails = |seed: &u64| run::<Lock<false>>(&scenario(*seed, 3), false).violation.is_some();
    let seed = (0..5_000).find(fails).expect("five thousand seeds are enough");
    let scenario = scenario(seed, 3);
    let verdict = run::<Lock<false>>(&scenario, true);
    assert_eq!(verdict.violation.as_ref().unwrap().property, "OneHolder");
    let told = story::<Lock<false>>(&scenario, &verdict, 100);
    assert!(told.contains("crash, and lose what is not durable"), "{told}");
    assert!(told.contains("violated: OneHolder: op "), "{told}");
    let read = Scenario::parse(&scenario.text()).unwrap();
    assert_eq!(run::<Lock<false>>(&read, true).text, verdict.text);
    assert_eq!(run::<Lock<true>>(&scenario, false).violation, None);
}

#[test]
fn with_a_journal_many_seeds_hold() {
    for seed in 0..1_000 {
        assert_eq!(run::<Lock<true>>(&scenario(seed, 3), false).violation, None, "seed {seed}");
    }
}
