//! What a panic says.

use std::any::Any;

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    text.unwrap_or_else(|| "without a message".into())
}

/// Keeps panics from printing: each becomes a violated invariant with its text.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}
