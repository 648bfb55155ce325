//! The ports of a simulated node: the store's side of what the harness gives it.

use harness::system::{Io, System};
use kv::{
    core::{
        env::{Entry, Note, Reply},
        message::Message,
        time::{Micros, Timestamp},
    },
    node::{Alarm, Outbox, Ports, Position},
};

/// A node's ports.
pub struct SimPorts<S: System>(pub Io<S>);

impl<S> Ports for SimPorts<S>
where
    S: System<Timer = Alarm, Entry = Entry, Message = Message, Reply = Reply>,
{
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.now_us())
    }

    fn uptime(&self) -> Micros {
        Micros(self.0.uptime_us())
    }

    fn set_timer(&self, alarm: Alarm, after: Micros) {
        self.0.set_timer(alarm, after.0);
    }

    fn append(&self, entry: Entry) -> Position {
        Position(self.0.append(entry))
    }

    fn durable(&self) -> Position {
        Position(self.0.durable())
    }

    fn note(&self, note: Note) {
        self.0.note(note.name());
    }

    fn send(&self, outbox: &mut Outbox) {
        outbox.messages.drain(..).for_each(|(to, message)| self.0.send(to.0, message));
        outbox.replies.drain(..).for_each(|(request, reply)| self.0.answer(request.0, reply));
    }
}
