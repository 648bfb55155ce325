//! What a server does so that it notices when it stood still, and so that nothing is run that clients sent before.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{SocketFlags, accept_with},
};
use tokio::{
    net::TcpListener,
    time::{MissedTickBehavior, interval},
};

use super::state::Door;

/// So often within the shortest pause the clocks are looked at, also when nothing else happens.
const LOOKS: u32 = 10;
/// Connections that are closed at a time.
const MOST_AT_ONCE: usize = 10_000;

/// Looks at the clocks, as long as the door is there.
pub async fn look(door: Weak<Door>) {
    let Some(after) = door.upgrade().map(|door| door.settings.node.pause_after) else { return };
    let mut ticks = interval((after.duration() / LOOKS).max(Duration::from_millis(1)));
    // Looks that were missed need not be made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(door) = door.upgrade() else { return };
        door.look();
        if let Some(server) = door.node() {
            server.node.look();
        }
    }
}

/// Knows since which pause there are the connections that clients made. The system takes them also for a process
/// that stands still, with what is sent over them: those that are accepted after a pause may be of before its end.
pub struct Taking {
    listener: Arc<TcpListener>,
    /// What is accepted was made after so many pauses. None: that is not known.
    since: Option<u64>,
}

impl Taking {
    /// A process that has just started had no pause.
    pub fn new(listener: Arc<TcpListener>) -> Self {
        Self { listener, since: Some(0) }
    }

    /// Closes what waits, if there was a pause since this was last called.
    pub fn close_old(&mut self, door: &Door) {
        let pauses = Some(door.look());
        if self.since != pauses {
            // What is made from now on, after the look, is new.
            self.since = if close_waiting(&self.listener) { pauses } else { None };
        }
    }

    /// After how many pauses a connection was made that has just been accepted. None: perhaps before the last
    /// one ended, and it is to be closed; so are all that waited with it.
    pub fn pauses_before(&mut self, door: &Door) -> Option<u64> {
        let before = self.since;
        self.close_old(door);
        self.since.filter(|_| self.since == before)
    }
}

/// Closes all connections that wait to be accepted. Whether none is left.
fn close_waiting(listener: &TcpListener) -> bool {
    for _ in 0..MOST_AT_ONCE {
        match accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(connection) => drop(connection),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(why) => return why == Errno::WOULDBLOCK,
        }
    }
    false
}
