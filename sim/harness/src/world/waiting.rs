//! What waits for the script, while one decides.

use std::collections::BTreeSet;

use derive_where::derive_where;

use crate::{
    scenario::script::{Unfit, Wire},
    system::System,
};

/// A message on its way: its number, sender, receiver, and what it says.
pub(crate) type Flying<S> = (u64, u32, u32, <S as System>::Message);

/// Timers that are armed: of which node, and which.
pub(crate) type Armed<S> = BTreeSet<(u32, <S as System>::Timer)>;

/// What waits for the script.
#[derive_where(Default)]
pub(crate) struct Waiting<S: System> {
    messages: Vec<Flying<S>>,
    timers: Armed<S>,
}

impl<S: System> Waiting<S> {
    pub(crate) fn message(&mut self, id: u64, from: u32, to: u32, message: S::Message) {
        self.messages.push((id, from, to, message));
    }

    pub(crate) fn timer(&mut self, node: u32, timer: S::Timer) {
        self.timers.insert((node, timer));
    }

    /// The timers of a node are gone with it.
    pub(crate) fn stopped(&mut self, node: u32) {
        self.timers.retain(|(of, _)| *of != node);
    }

    pub(crate) fn take(&mut self, wire: &Wire) -> Result<Flying<S>, Unfit> {
        let is_it = |(_, from, to, message): &Flying<S>| {
            (*from, *to) == (wire.from, wire.to) && S::message_name(message) == wire.says
        };
        let mut alike = self.messages.iter().enumerate().filter(|(_, flying)| is_it(flying));
        let (at, _) = alike.nth(wire.after).ok_or_else(|| {
            let there = self.messages.iter().map(|(_, from, to, message)| {
                format!("n{from} -> n{to} {}", S::message_name(message))
            });
            Unfit::Message { wanted: wire.clone(), there: there.collect() }
        })?;
        Ok(self.messages.remove(at))
    }

    pub(crate) fn take_timer(&mut self, node: u32, name: &str) -> Result<S::Timer, Unfit> {
        let mut all = self.timers.iter();
        let found = all.find(|(of, armed)| *of == node && S::timer_name(armed) == name).cloned();
        let found = found.ok_or_else(|| Unfit::Timer { node, timer: name.to_string() })?;
        self.timers.remove(&found);
        Ok(found.1)
    }

    pub(crate) fn into_all(self) -> (Vec<Flying<S>>, Armed<S>) {
        (self.messages, self.timers)
    }
}
