//! The memory of all client connections together: what they sent and is not done, and the answers that they
//! did not take. It has a bound. Where that is reached nobody's commands are taken until there is room
//! again, and room is made: the connections that hold the most are closed, those first that do not take
//! what is sent to them. (Redis does the same, and calls it client eviction.)

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::node::locks::{
    Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// Memory is counted in such pieces: most turns of a connection change nothing then.
const PIECE: usize = 4 * 1024;

/// What all connections hold.
#[derive(Debug)]
pub struct ClientMemory {
    bound: usize,
    total: AtomicUsize,
    accounts: Mutex<BTreeMap<u64, Arc<Account>>>,
    is_over: watch::Sender<bool>,
    closed: AtomicU64,
}

/// What one connection holds.
#[derive(Debug, Default)]
struct Account {
    held: AtomicUsize,
    /// 1 while something is sent that the client has not taken yet.
    is_sending: AtomicUsize,
    /// 1 once it has to end.
    has_to_end: AtomicUsize,
    end: Notify,
}

/// A connection's share; what it holds is given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    memory: Arc<ClientMemory>,
    number: u64,
    account: Arc<Account>,
    is_over: watch::Receiver<bool>,
}

impl ClientMemory {
    /// No connection yet; together they may hold so many bytes.
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self {
            bound,
            total: AtomicUsize::new(0),
            accounts: Mutex::default(),
            is_over: watch::Sender::new(false),
            closed: AtomicU64::new(0),
        })
    }

    /// The most bytes that one command, or the values of one answer, may have: so little that the copies that
    /// are made on the way fit into the bound.
    pub fn most_of_a_command(&self) -> usize {
        self.bound / 8
    }

    /// The bytes that connections hold, and how many may be.
    pub fn held(&self) -> (usize, usize) {
        (self.total.load(Ordering::Relaxed), self.bound)
    }

    /// Connections that were closed to make room.
    pub fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    /// The share of a new connection.
    pub fn open(self: &Arc<Self>, number: u64) -> Share {
        let account = Arc::new(Account::default());
        self.accounts.lock().insert(number, account.clone());
        Share { memory: self.clone(), number, account, is_over: self.is_over.subscribe() }
    }

    /// Says whether there is room, where that has changed.
    fn tell(&self) {
        let is_over = || self.total.load(Ordering::SeqCst) > self.bound;
        if is_over() != *self.is_over.borrow() {
            // Looked at again under the lock of who is told: the last one to come here is right.
            self.is_over.send_if_modified(|told| std::mem::replace(told, is_over()) != *told);
        }
    }

    /// Makes room, if there is none: as many connections are asked to end as are needed.
    fn relieve(&self) {
        if self.total.load(Ordering::SeqCst) <= self.bound {
            return;
        }
        let accounts = self.accounts.lock();
        let mut others: Vec<_> =
            accounts.values().filter(|account| !account.has_to_end()).collect();
        let held = |account: &Arc<Account>| account.held.load(Ordering::SeqCst);
        // Without those that are about to end, or just did: their bytes may still be in the total.
        let mut stays: usize = others.iter().map(|account| held(account)).sum();
        // One that holds little makes no room, and may be sent something at this very moment.
        let average = stays / others.len().max(1);
        others.sort_by_key(|account| {
            let held = held(account);
            let is_stuck = account.is_sending.load(Ordering::Relaxed) == 1 && held >= average;
            (is_stuck, held)
        });
        let mut closed = 0;
        while stays > self.bound
            && let Some(account) = others.pop()
        {
            stays = stays.saturating_sub(held(account));
            account.has_to_end.store(1, Ordering::SeqCst);
            account.end.notify_one();
            closed += 1;
        }
        if closed > 0 {
            self.closed.fetch_add(closed, Ordering::Relaxed);
            warn!(
                cause = "client memory",
                "{closed} client connections are closed: all together held more than {} bytes \
                 (--max-client-memory); those that do not read their answers go first",
                self.bound
            );
        }
    }
}

impl Account {
    fn has_to_end(&self) -> bool {
        self.has_to_end.load(Ordering::SeqCst) == 1
    }
}

impl Share {
    /// The connection holds so many bytes now.
    pub fn holds(&self, bytes: usize) {
        let bytes = bytes.next_multiple_of(PIECE);
        // Only the connection itself changes it.
        let before = self.account.held.load(Ordering::Relaxed);
        if bytes == before {
            return;
        }
        self.account.held.store(bytes, Ordering::SeqCst);
        if bytes > before {
            self.memory.total.fetch_add(bytes - before, Ordering::SeqCst);
        } else {
            self.memory.total.fetch_sub(before - bytes, Ordering::SeqCst);
        }
        self.memory.relieve();
        self.memory.tell();
    }

    /// Whether something is sent that the client has not taken yet.
    pub fn is_sending(&self, is_sending: bool) {
        self.account.is_sending.store(is_sending.into(), Ordering::Relaxed);
    }

    /// Whether connections hold more than they may: no command is to be taken.
    pub fn is_over(&self) -> bool {
        *self.is_over.borrow()
    }

    /// Waits until there is room, or until the connection has to end.
    pub async fn room(&mut self) {
        let (end, is_over) = (&self.account.end, &mut self.is_over);
        tokio::select! {
            biased;
            () = end.notified() => end.notify_one(),
            // The sender is held by this share.
            _ = is_over.wait_for(|is_over| !is_over) => {}
        }
    }

    /// Done once the connection has to end.
    pub async fn end(&self) {
        self.account.end.notified().await;
        // For whoever asks again.
        self.account.end.notify_one();
    }

    /// Whether the connection has to end.
    pub fn has_to_end(&self) -> bool {
        self.account.has_to_end()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.accounts.lock().remove(&self.number);
        self.holds(0);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn has_to_wait(share: &mut Share) -> bool {
        let room = std::pin::pin!(share.room());
        room.poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending
    }

    #[test]
    fn those_that_hold_the_most_and_do_not_read_go_first_and_then_there_is_room() {
        let memory = ClientMemory::new(100 * PIECE);
        let mut shares: Vec<Share> = (0..4).map(|number| memory.open(number)).collect();
        for (share, pieces) in shares.iter().zip([30, 10, 28, 32]) {
            share.holds(pieces * PIECE);
        }
        assert!(!shares[0].is_over() && !has_to_wait(&mut shares[0]));
        shares[1].is_sending(true);
        shares[2].is_sending(true);
        shares[1].holds(11 * PIECE);
        let have_to_end: Vec<bool> = shares.iter().map(Share::has_to_end).collect();
        assert_eq!(have_to_end, [false, false, true, false]);
        assert!(shares[0].is_over() && has_to_wait(&mut shares[0]));
        assert!(!has_to_wait(&mut shares[2]), "it ends");
        // It is still there, and nobody else has to go for it.
        shares[3].holds(33 * PIECE);
        assert_eq!(memory.closed(), 1);
        drop(shares.remove(2));
        assert!(!shares[0].is_over() && !has_to_wait(&mut shares[0]));
        assert_eq!(memory.held().0, 74 * PIECE);
        // All read: the largest goes, be it the one that grows.
        shares[1].is_sending(false);
        shares[2].holds(60 * PIECE);
        assert!(shares[2].has_to_end() && memory.closed() == 2);
        drop(shares);
        assert_eq!(memory.held().0, 0);
    }

    #[test]
    fn one_that_holds_little_stays_while_something_is_sent_to_it() {
        let memory = ClientMemory::new(10 * PIECE);
        let shares: Vec<Share> = (0..2).map(|number| memory.open(number)).collect();
        shares[0].is_sending(true);
        shares[0].holds(PIECE);
        shares[1].holds(10 * PIECE);
        assert!(!shares[0].has_to_end() && shares[1].has_to_end());
    }

    #[test]
    fn one_that_holds_more_than_all_may_ends() {
        let memory = ClientMemory::new(PIECE);
        let share = memory.open(1);
        share.holds(1);
        assert!(!share.has_to_end());
        share.holds(PIECE + 1);
        assert!(share.has_to_end());
    }
}
