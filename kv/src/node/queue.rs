//! A bounded queue with a wake-up: from whatever thread runs a step to the task that writes to a
//! socket. Ours, on the facade's mutex, so that every interleaving of it can be explored.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use crate::node::locks::Mutex;

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
    closing: Closing,
    dropped: u64,
}

/// Whether whoever takes was asked to end, and knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    Open,
    Asked,
    Told,
}

impl<T> Queue<T> {
    /// An empty queue that holds at most `bound` items.
    pub fn new(bound: usize) -> Self {
        let inner =
            Inner { items: VecDeque::new(), waker: None, closing: Closing::Open, dropped: 0 };
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

    /// Takes all items, or waits for some. False once after the queue was closed, with what it held
    /// then; what comes later is waited for and taken as before. For one taker.
    pub fn poll_take(&self, cx: &mut Context<'_>, into: &mut Vec<T>) -> Poll<bool> {
        let mut inner = self.inner.lock();
        into.extend(inner.items.drain(..));
        if inner.closing == Closing::Asked {
            inner.closing = Closing::Told;
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

    /// Asks whoever takes to end, once. What is still to come can be pushed and taken.
    pub fn close(&self) {
        let waker = {
            let mut inner = self.inner.lock();
            if inner.closing == Closing::Open {
                inner.closing = Closing::Asked;
            }
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
    fn a_closed_queue_says_so_once_with_what_it_holds_and_then_waits_for_what_is_to_come() {
        let queue = Queue::new(2);
        let mut taken = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        queue.push_all([1]);
        queue.close();
        assert_eq!(queue.poll_take(&mut cx, &mut taken), Poll::Ready(false));
        assert_eq!(std::mem::take(&mut taken), [1]);
        queue.close();
        assert!(queue.poll_take(&mut cx, &mut taken).is_pending());
        queue.push_all([2]);
        assert_eq!((queue.poll_take(&mut cx, &mut taken), taken), (Poll::Ready(true), vec![2]));
    }
}
