//! The door for clients, one for the life of a process. It takes connections, as many as there may be, and keeps
//! those that come while no node serves: before this process has a place in a ring, while a cluster forms, and
//! when this process has left its ring and joins anew. Such a connection is served on as soon as a node serves.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

use super::{
    accept::{Acceptor, refuse},
    admission::{Admission, TOO_MANY},
    pauses::Taking,
    session::Session,
    state::Door,
};
use crate::node::locks::atomic::Ordering;

/// One who came in. Counted until it goes.
struct Visitor(Arc<Door>);

impl Drop for Visitor {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Door {
    /// Takes client connections until the door is closed.
    pub async fn listen(self: Arc<Self>, listener: TcpListener) {
        let mut is_closed = self.is_closed.subscribe();
        let listener = Arc::new(listener);
        let mut taking = Taking::new(listener.clone());
        let mut acceptor = Acceptor::new(listener, "client", TOO_MANY);
        loop {
            tokio::select! {
                biased;
                _ = is_closed.wait_for(|is_closed| *is_closed) => return,
                () = self.paused.notified() => taking.close_old(&self),
                (stream, _) = acceptor.next() => match taking.pauses_before(&self) {
                    Some(pauses) => self.take(stream, pauses),
                    // Without an answer: what it sent may be old, and its client gone.
                    None => drop(stream),
                }
            }
        }
    }

    fn take(self: &Arc<Self>, stream: TcpStream, pauses: u64) {
        let _ = stream.set_nodelay(true);
        let visitor = Visitor(self.clone());
        let others = self.open.fetch_add(1, Ordering::Relaxed);
        if others < self.settings.places.clients {
            tokio::spawn(async move {
                let session = Session::new(visitor.0.clone(), Admission::Client);
                let session = session.taken_after(pauses);
                // A client that goes away without a word is no news.
                let _ = visitor.0.attend(session, stream).await;
            });
            return;
        }
        self.rejected.fetch_add(1, Ordering::Relaxed);
        warn!(
            cause = "too many clients",
            "a client is refused: there are {others}, and {} may be (--max-clients)",
            self.settings.places.clients
        );
        let Ok(place) = self.operators.clone().try_acquire_owned() else {
            return refuse(&stream, TOO_MANY);
        };
        tokio::spawn(async move {
            let _place = place;
            let session = Session::new(visitor.0.clone(), Admission::Operator);
            let session = session.taken_after(pauses);
            let _ = visitor.0.attend(session, stream).await;
        });
    }

    /// Serves a connection: until a node does, while this process goes on; and then, while that node does.
    async fn attend(&self, mut session: Session, mut stream: TcpStream) -> std::io::Result<()> {
        let mut is_closed = self.is_closed.subscribe();
        tokio::select! {
            biased;
            _ = is_closed.wait_for(|is_closed| *is_closed) => return Ok(()),
            goes_on = session.wait(&mut stream) => if !goes_on? { return Ok(()) },
        }
        let Some(server) = session.server() else { return Ok(()) };
        let mut is_over = server.is_over.subscribe();
        tokio::select! {
            biased;
            _ = is_over.wait_for(|is_over| *is_over) => Ok(()),
            ended = session.serve(&mut stream) => ended,
        }
    }
}
