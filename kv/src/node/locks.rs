//! The lock types: the standard library's, or loom's where all interleavings are explored. The only
//! file with `cfg(loom)`, but for the line in `lib.rs` that declares those tests.

#[cfg(loom)]
use loom::sync as imp;
#[cfg(not(loom))]
use std::sync as imp;

pub use imp::{Arc, MutexGuard, atomic};

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
