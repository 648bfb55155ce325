//! A bounded queue with a wake-up: from whatever thread runs a step to the task that writes to a
//! socket. Ours, on the facade's mutex, so that every interleaving of it can be explored.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use crate::locks::Mutex;

/// A queue.
#[derive(Debug)]
pub struct Queue<T> {
    inner: Mutex<Inner<T>>,
    bound: usize,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    waker: Option<Waker>,
    closed: bool,
    dropped: u64,
}

impl<T> Queue<T> {
    /// An empty queue that holds at most `bound` items.
    pub fn new(bound: usize) -> Self {
        let inner = Inner { items: VecDeque::new(), waker: None, closed: false, dropped: 0 };
        Self { inner: Mutex::new(inner), bound }
    }

    /// Adds items; those beyond the bound are dropped and counted.
    pub fn push_all(&self, items: impl IntoIterator<Item = T>) {
        let waker = {
            let mut inner = self.inner.lock();
            for item in items {
                if inner.items.len() < self.bound {
                    inner.items.push_back(item);
                } else {
                    inner.dropped += 1;
                }
            }
            inner.waker.take()
        };
        // Woken without the lock: the one that wakes up takes it.
        waker.into_iter().for_each(Waker::wake);
    }

    /// Takes all items, or waits for some. False when the queue is closed; what it held is taken
    /// all the same.
    pub fn poll_take(&self, cx: &mut Context<'_>, into: &mut Vec<T>) -> Poll<bool> {
        let mut inner = self.inner.lock();
        into.extend(inner.items.drain(..));
        if inner.closed {
            return Poll::Ready(false);
        }
        if !into.is_empty() {
            return Poll::Ready(true);
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Drops all items.
    pub fn clear(&self) {
        self.inner.lock().items.clear();
    }

    /// Tells whoever takes that no more is to come.
    pub fn close(&self) {
        let waker = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            inner.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// How many items were dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.inner.lock().dropped
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_a_waiting_taker_is_woken_once() {
        let queue = Queue::new(2);
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let mut taken = Vec::new();
        assert!(queue.poll_take(&mut Context::from_waker(&waker), &mut taken).is_pending());
        queue.push_all([1, 2, 3]);
        queue.push_all([4]);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(queue.dropped(), 2);
        let ready = queue.poll_take(&mut Context::from_waker(&waker), &mut taken);
        assert_eq!((ready, taken), (Poll::Ready(true), vec![1, 2]));
    }

    #[test]
    fn a_closed_queue_gives_what_it_holds_and_says_so() {
        let queue = Queue::new(2);
        let mut taken = Vec::new();
        queue.push_all([1]);
        queue.close();
        let ready = queue.poll_take(&mut Context::from_waker(Waker::noop()), &mut taken);
        assert_eq!((ready, taken), (Poll::Ready(false), vec![1]));
    }
}
