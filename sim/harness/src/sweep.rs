//! Many seeds, each on a fresh thread, over all cores.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    panics::panic_text, property::Judged, run::Verdict, tally::Tally, violation::Violation,
    world::INVARIANT,
};

/// What to sweep.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The first seed.
    pub from: u64,
    /// How many seeds.
    pub seeds: u64,
    /// How many at a time.
    pub jobs: usize,
    /// Stop at the first seed that fails.
    pub stop_at_first: bool,
    /// Where to write each seed's log.
    pub logs: Option<PathBuf>,
}

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// What was violated.
    pub violation: Violation,
}

/// What a sweep showed.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// Seeds that were run.
    pub seeds: u64,
    /// Those that failed, by seed.
    pub failed: Vec<Failed>,
    /// What was counted.
    pub tally: Tally,
    /// Events in all logs.
    pub events: u64,
    /// Simulated time, in microseconds.
    pub simulated_us: u64,
    /// The seed that took longest to converge after healing, and how long, in microseconds.
    pub slowest: Option<(u64, u64)>,
    /// CPU time of the runs.
    pub cpu: Duration,
    /// Time that passed.
    pub wall: Duration,
}

/// Runs something on the current thread; a panic is a violated invariant.
pub fn caught<S: Judged>(run: impl FnOnce() -> Verdict<S>) -> Verdict<S> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| panicked(&*panic))
}

fn panicked<S: Judged>(panic: &(dyn std::any::Any + Send)) -> Verdict<S> {
    let what = format!("the run panicked: {}", panic_text(panic));
    Verdict { violation: Some(Violation::new(INVARIANT, what)), ..Verdict::default() }
}

/// The CPU time of this thread. Asked of the kernel directly: a runtime may replace the C library's clocks.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Sweeps: `run` makes and runs the scenario of a seed, and keeps the log's text if it is told to. Tells
/// `progress` how many seeds are done after each.
///
/// # Errors
///
/// A log cannot be written.
pub fn sweep<S: Judged>(
    what: &Sweep,
    run: impl Fn(u64, bool) -> Verdict<S> + Sync,
    progress: impl Fn(u64) + Sync,
) -> std::io::Result<Swept> {
    if let Some(folder) = &what.logs {
        std::fs::create_dir_all(folder)?;
    }
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let total = Mutex::new(Swept::default());
    let failure: Mutex<Option<std::io::Error>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..what.jobs.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    if turn >= what.seeds {
                        return;
                    }
                    let seed = what.from.wrapping_add(turn);
                    // A fresh thread: what a seed does must not depend on what ran before it.
                    let fresh = std::thread::scope(|s| s.spawn(|| one(what, seed, &run)).join());
                    let (verdict, cpu) = match fresh {
                        Ok(Ok(done)) => done,
                        Ok(Err(error)) => {
                            *failure.lock().expect("no panic in here") = Some(error);
                            stop.store(true, Ordering::Relaxed);
                            return;
                        }
                        // Outside of the run: what it showed is let go, say.
                        Err(panic) => (Kept::of(panicked::<S>(&*panic)), Duration::ZERO),
                    };
                    if verdict.violation.is_some() && what.stop_at_first {
                        stop.store(true, Ordering::Relaxed);
                    }
                    let mut total = total.lock().expect("no panic in here");
                    add(&mut total, seed, verdict, cpu);
                    progress(total.seeds);
                }
            });
        }
    });
    if let Some(error) = failure.into_inner().expect("no panic in here") {
        return Err(error);
    }
    let mut swept = total.into_inner().expect("no panic in here");
    swept.failed.sort_by_key(|failed| failed.seed);
    swept.wall = started.elapsed();
    Ok(swept)
}

/// What a sweep keeps of a verdict.
struct Kept {
    violation: Option<Violation>,
    events: u64,
    tally: Tally,
    simulated_us: u64,
    converged_us: Option<u64>,
}

impl Kept {
    fn of<S: Judged>(verdict: Verdict<S>) -> Self {
        let Verdict { violation, events, tally, simulated_us, converged_us, .. } = verdict;
        Self { violation, events, tally, simulated_us, converged_us }
    }
}

fn one<S: Judged>(
    what: &Sweep,
    seed: u64,
    run: impl Fn(u64, bool) -> Verdict<S>,
) -> std::io::Result<(Kept, Duration)> {
    let before = thread_cpu();
    let verdict = caught(|| run(seed, what.logs.is_some()));
    let cpu = thread_cpu().saturating_sub(before);
    if let (Some(folder), Some(text)) = (&what.logs, &verdict.text) {
        std::fs::write(folder.join(format!("seed-{seed}.log")), text)?;
    }
    Ok((Kept::of(verdict), cpu))
}

fn add(total: &mut Swept, seed: u64, verdict: Kept, cpu: Duration) {
    total.seeds += 1;
    total.events += verdict.events;
    total.simulated_us += verdict.simulated_us;
    total.cpu += cpu;
    total.tally.merge(&verdict.tally);
    if let Some(took) = verdict.converged_us {
        // Of equals the first seed, whichever ended first.
        let is_slower = |slowest: (u64, u64)| {
            (took, std::cmp::Reverse(seed)) > (slowest.1, std::cmp::Reverse(slowest.0))
        };
        if total.slowest.is_none_or(is_slower) {
            total.slowest = Some((seed, took));
        }
    }
    if let Some(violation) = verdict.violation {
        total.failed.push(Failed { seed, violation });
    }
}
