//! The example: its mistake is found, told and replayed, and the mended nodes hold.

#[allow(dead_code, reason = "what the example's main needs is not needed here")]
#[path = "../examples/register.rs"]
mod example;

use example::Node;
use harness::{
    register::{self, Register},
    run::run,
    scenario::{
        Scenario,
        script::{ScriptStep, Wire},
    },
    story::story,
    sweep::{Sweep, Swept, sweep},
    tally::{Gate, Topic},
};

type Mistaken = Register<Node<false>>;
type Mended = Register<Node<true>>;

fn swept(seeds: u64, stop_at_first: bool) -> Swept {
    let what = Sweep { from: 0, seeds, jobs: 2, stop_at_first, logs: None };
    sweep(&what, |seed, _| run::<Mended>(&register::scenario(seed, 5), false), |_| {}).unwrap()
}

#[test]
fn the_example_is_as_short_as_the_documents_say() {
    assert!(include_str!("../examples/register.rs").lines().count() < 100);
}

#[test]
fn the_mistake_is_found_told_and_replayed_byte_for_byte() {
    let fails =
        |seed: &u64| run::<Mistaken>(&register::scenario(*seed, 5), false).violation.is_some();
    let seed = (0..1_000).find(fails).expect("a thousand seeds are enough");
    let scenario = register::scenario(seed, 5);
    let verdict = run::<Mistaken>(&scenario, true);
    assert_eq!(verdict.violation.as_ref().unwrap().property, "NeverBack");
    let told = story::<Mistaken>(&scenario, &verdict, 100);
    assert!(told.starts_with(&format!("seed {seed}: 5 nodes; 100 operations")), "{told}");
    assert!(told.contains("violated: NeverBack: op "), "{told}");
    assert!(told.lines().any(|line| line.starts_with('>')), "{told}");
    // From its text too.
    let read = Scenario::parse(&scenario.text()).unwrap();
    let again = run::<Mistaken>(&read, true);
    assert_eq!((again.text, again.hash), (verdict.text, verdict.hash));
    // The write-back mends just that.
    assert_eq!(run::<Mended>(&scenario, false).violation, None);
}

#[test]
fn with_the_write_back_many_seeds_hold_and_all_that_may_happen_does() {
    let swept = swept(2_000, false);
    assert!(swept.failed.is_empty(), "{:?}", swept.failed);
    let mut gates = Gate::usual();
    // Clocks are true, stalls are not drawn, and nobody is kept behind.
    let never = ["clock jump", "pause with requests", "rot", "withheld"];
    gates.retain(|gate| !never.contains(&gate.name().as_str()));
    gates.push(Gate::new(Topic::Operation, "put ok"));
    gates.push(Gate::new(Topic::Operation, "get ok"));
    gates.push(Gate::new(Topic::Operation, "no answer"));
    assert_eq!(swept.tally.missing(&gates), Vec::<String>::new());
}

/// A put through n1 that reaches n1 and n2 alone, then a get through n3 and n4, step by step.
#[test]
fn a_script_leaves_nothing_to_chance() {
    let mut scenario = register::scenario(0, 3);
    scenario.faults.clear();
    scenario.operations.truncate(2);
    for (operation, (client, node, action)) in scenario
        .operations
        .iter_mut()
        .zip([(0, 1, register::Action::Put), (1, 3, register::Action::Get)])
    {
        (operation.client, operation.node, operation.action) = (client, node, action);
    }
    let value = "(1700000000000001, 1)";
    let wire = |from, to, says: String| Wire { from, to, says, after: 0 };
    let write = |to| wire(1, to, format!("Write(0, {value})"));
    let written = |from| wire(from, 1, format!("Written(0, {value})"));
    let found = |from, value| wire(from, 3, format!("Found(1, {value})"));
    use ScriptStep::{Ask, Deliver, Lose};
    scenario.script = vec![
        Ask(0),
        Deliver(write(1)),
        Deliver(write(2)),
        Lose(write(3)),
        Deliver(written(1)),
        Deliver(written(2)),
        Ask(1),
        Deliver(wire(3, 3, "Read(1)".into())),
        Deliver(found(3, "(0, 0)")),
        Deliver(wire(3, 1, "Read(1)".into())),
        Deliver(found(1, value)),
    ];
    let verdict = run::<Mistaken>(&scenario, true);
    assert_eq!(verdict.violation, None, "{}", verdict.text.unwrap());
    let answers: Vec<_> = verdict.history.iter().map(|done| done.outcome.answer()).collect();
    assert_eq!(answers, [Some(&(1_700_000_000_000_001, 1)); 2]);
    // What does not fit is told.
    scenario.script.push(Deliver(write(3)));
    let violation = run::<Mistaken>(&scenario, false).violation.unwrap();
    assert_eq!(violation.property, "script");
    assert!(
        violation.what.starts_with("step 11 does not fit: no such message waits"),
        "{violation}"
    );
}
