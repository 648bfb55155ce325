//! Taking connections, also when the process is out of file descriptors: then each one that comes is told so
//! and closed by means of a spare descriptor, at a pace that costs little.

use std::{fs::File, future::poll_fn, io, net::SocketAddr, sync::Arc, task::Poll, time::Duration};

use rustix::io::Errno;
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tracing::warn;

use crate::resp::reply;

/// After a connection could not be taken. One that is told why, by the spare descriptor, costs less.
const BACKOFF: Duration = Duration::from_millis(100);
const SPARE_BACKOFF: Duration = Duration::from_millis(5);

/// Takes the connections of a listener.
pub struct Acceptor {
    listener: Arc<TcpListener>,
    /// Whose connections they are, for the log.
    whose: &'static str,
    /// What those are told that cannot be kept. Peers are told nothing: they try again.
    regret: &'static str,
    /// Given up to take one connection more, and to close it.
    spare: Option<File>,
}

impl Acceptor {
    /// Takes connections from a listener. `regret` is what those are told that cannot be kept, if anything.
    pub fn new(listener: Arc<TcpListener>, whose: &'static str, regret: &'static str) -> Self {
        Self { listener, whose, regret, spare: spare() }
    }

    /// The next connection, and from where.
    pub async fn next(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let why = match self.listener.accept().await {
                Ok(taken) => return taken,
                Err(why) => why,
            };
            warn!(cause = why.raw_os_error(), "a {} connection cannot be taken: {why}", self.whose);
            let told = is_out_of_descriptors(&why) && self.turn_one_away().await;
            sleep(if told { SPARE_BACKOFF } else { BACKOFF }).await;
        }
    }

    /// Takes the connection that waits, and closes it: whether there was a descriptor for that.
    async fn turn_one_away(&mut self) -> bool {
        if self.spare.take().is_none() {
            self.spare = spare();
            return false;
        }
        let listener = &self.listener;
        let taken = poll_fn(|cx| Poll::Ready(listener.poll_accept(cx))).await;
        if let Poll::Ready(Ok((stream, _))) = &taken
            && !self.regret.is_empty()
        {
            refuse(stream, self.regret);
        }
        let told = matches!(taken, Poll::Ready(Ok(_)));
        drop(taken);
        self.spare = spare();
        told
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

fn is_out_of_descriptors(why: &io::Error) -> bool {
    let errno = Errno::from_io_error(why);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

/// Tells a client why it is not served.
pub fn refuse(stream: &TcpStream, why: &str) {
    let mut out = Vec::new();
    reply::error(&mut out, why);
    // A new socket takes something at once; what does not fit into its buffer is not waited for.
    let _ = stream.try_write(&out);
    // To close while input waits would reset the connection, and the reason could be lost.
    let mut rest = [0; 4096];
    while matches!(stream.try_read(&mut rest), Ok(size) if size > 0) {}
}
