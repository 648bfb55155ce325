//! The lock types: the standard library's, or loom's where all interleavings are explored. The only
//! file with `cfg(loom)`, but for the line in `lib.rs` that declares those tests.

#[cfg(loom)]
use loom::sync as imp;
#[cfg(not(loom))]
use std::sync as imp;

pub use imp::{Arc, MutexGuard, atomic};

/// Lets threads wait for something that a [`Mutex`] guards.
#[derive(Debug, Default)]
pub struct Condvar(imp::Condvar);

impl Condvar {
    /// Releases the lock, waits to be woken, and takes it again. It may also be woken for no reason.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).expect("a thread panicked while it held this lock")
    }

    /// The same, for so long at most. loom has no time: there it waits for ever.
    pub fn wait_for<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        most: std::time::Duration,
    ) -> MutexGuard<'a, T> {
        self.0.wait_timeout(guard, most).expect("a thread panicked while it held this lock").0
    }

    /// Wakes one that waits.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }
}

/// Mutual exclusion. A panic while it is held is a broken invariant: whoever locks it next panics too.
#[derive(Debug, Default)]
pub struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    /// A mutex around `value`.
    pub fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("a thread panicked while it held this lock")
    }
}
