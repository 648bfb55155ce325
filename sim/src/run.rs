//! Runs of the store, each under a runtime of its own: madsim's, which takes the place of the C library's clocks
//! and random numbers, so that nothing in a node can make a run differ from its repetition.

use std::time::Duration;

use harness::{run::Run, sweep::caught};
use kv::core::message::Message;
use madsim::{runtime::Runtime, time::Instant};

use crate::{
    scenario::Scenario,
    store::{Store, Verdict},
    trace::{Moved, moves},
};

/// Runs a scenario. `keep_text`: keep the log's text, and what a story tells.
pub fn run(scenario: &Scenario, keep_text: bool) -> Verdict {
    drive(scenario, Run::new(scenario, keep_text))
}

/// The same; a panic is a violated invariant.
pub fn run_caught(scenario: &Scenario, keep_text: bool) -> Verdict {
    caught(|| run(scenario, keep_text))
}

/// Runs a scenario, and records what each node was given and did.
pub fn run_recorded(scenario: &Scenario) -> Vec<Moved> {
    let mut run = Run::new(scenario, false);
    run.record_steps();
    moves(drive(scenario, run).trace)
}

/// Runs a scenario, and shows each message as it leaves its node, and when.
pub fn run_metered(scenario: &Scenario, meter: impl FnMut(u64, &Message) + 'static) -> Verdict {
    let mut run = Run::new(scenario, false);
    run.meter(meter);
    drive(scenario, run)
}

fn drive(scenario: &Scenario, mut run: Run<'_, Store>) -> Verdict {
    let runtime = Runtime::with_seed_and_config(scenario.seed, madsim::Config::default());
    runtime.block_on(async move {
        let start = Instant::now();
        while let Some(at) = run.next_at() {
            // The queue says what time it is, and each node has clocks of its own: nobody looks at the
            // runtime's, which only goes along.
            madsim::time::sleep_until(start + Duration::from_micros(at)).await;
            run.advance(at);
        }
        run.close()
    })
}
