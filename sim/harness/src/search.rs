//! Looks for a seed that fails, and tells its story: the shortest way to use the harness.

use std::{io, ops::Range};

use crate::{
    run::run,
    story::{narrator::Narrated, story},
    sweep::{Sweep, sweep},
    system::ScenarioOf,
    text::{print, width},
};

/// Runs seeds until one fails, all cores at it, and prints its story and the command that replays it: `replay`
/// with the seed behind it. Whether all held.
///
/// # Errors
///
/// The output cannot be written.
pub fn search<S: Narrated>(
    seeds: Range<u64>,
    scenario: impl Fn(u64) -> ScenarioOf<S> + Sync,
    replay: &str,
) -> io::Result<bool> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let (from, count) = (seeds.start, seeds.end.saturating_sub(seeds.start));
    let what = Sweep { from, seeds: count, jobs, stop_at_first: true, logs: None };
    let swept = sweep(&what, |seed, keep_text| run::<S>(&scenario(seed), keep_text), |_| {})?;
    let ms = swept.wall.as_millis();
    let Some(failed) = swept.failed.first() else {
        print(&format!("{} seeds held, in {ms} ms", swept.seeds))?;
        return Ok(true);
    };
    let scenario = scenario(failed.seed);
    print(&story::<S>(&scenario, &run(&scenario, true), width()))?;
    print(&format!("{} seeds run, in {ms} ms; the same again:", swept.seeds))?;
    print(&format!("  {replay} {}", failed.seed))?;
    Ok(false)
}
