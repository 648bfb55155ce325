//! How a process notices that it stood still: because it was stopped, or its machine was suspended, or paused.
//!
//! The monotonic clock shows the pause of a process. It may stand still while a machine is suspended, or a
//! virtual one is paused, and so a leap of the wall clock against it counts as a pause too. (CLOCK_BOOTTIME knows
//! of suspensions, but not of a hypervisor that stops a guest and sets its wall clock afterwards.)

use crate::{
    core::time::{Micros, Timestamp},
    node::locks::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// Both clocks: the wall clock and the monotonic one.
pub type Times = (Timestamp, Micros);

/// Looks that are closer together are not all written down: threads share the cache line.
const QUIET: Micros = Micros::from_millis(10);
/// How often both clocks are read again when they were not read at one moment.
const READINGS: usize = 4;

/// The latest look at the clocks. Whoever looks, and finds that the last look was long ago, notices a pause.
#[derive(Debug)]
pub struct Pulse {
    /// What is longer than this is a pause.
    after: Micros,
    /// The monotonic clock at the last look that was written down, and the wall clock less it then.
    last: AtomicU64,
    lead: AtomicU64,
    /// Held by the one who writes down a look.
    turn: Mutex<()>,
}

/// Wall clock less monotonic clock: constant but for leaps.
fn lead((now, uptime): Times) -> u64 {
    now.micros().wrapping_sub(uptime.0)
}

/// By how much a lead grew.
fn growth(from: u64, to: u64) -> Micros {
    Micros(u64::try_from(to.wrapping_sub(from).cast_signed()).unwrap_or(0))
}

impl Pulse {
    /// Begins to look, at these times.
    pub fn new(after: Micros, times: Times) -> Self {
        Self {
            after,
            last: AtomicU64::new(times.1.0),
            lead: AtomicU64::new(lead(times)),
            turn: Mutex::new(()),
        }
    }

    /// Looks at the clocks: what they said. A pause is noticed before that, by this thread or by another one, and
    /// `noticed` is done, with its length, before any thread goes on. Idleness is taken for a pause: somebody has to
    /// look several times within the shortest one.
    pub fn look(&self, read: impl Fn() -> Times, noticed: impl FnOnce(Micros)) -> Times {
        let times = read();
        if self.gap(times) >= QUIET {
            let _turn = self.turn.lock();
            let times = at_once(&read);
            let length = self.gap(times);
            if length > self.after {
                noticed(length);
            }
            // In this order: who sees the new pulse sees what was done.
            self.lead.store(lead(times), Ordering::Release);
            self.last.store(times.1.0, Ordering::Release);
        }
        times
    }

    /// How long ago the last look was, by the clock that says more.
    fn gap(&self, times: Times) -> Micros {
        let since = times.1.0.saturating_sub(self.last.load(Ordering::Acquire));
        let leap = growth(self.lead.load(Ordering::Acquire), lead(times));
        leap.max(Micros(since))
    }
}

/// Both clocks, at nearly one moment: a thread may be stopped between two readings.
fn at_once(read: impl Fn() -> Times) -> Times {
    let mut times = read();
    for _ in 0..READINGS {
        let (_, before) = times;
        times = read();
        if times.1.0.saturating_sub(before.0) < QUIET.0 {
            break;
        }
    }
    times
}
