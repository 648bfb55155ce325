//! The timers of a node: one heap, and one task that sleeps until the first of them.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    core::time::Micros,
    node::{Alarm, Node, Ports, locks::Mutex},
};

/// Timers that are armed.
#[derive(Debug, Default)]
pub struct Timers {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By time; the number keeps equal times in order.
    armed: BinaryHeap<Reverse<(Instant, u64, Alarm)>>,
    count: u64,
    waker: Option<Waker>,
}

impl Inner {
    fn first(&self) -> Option<Instant> {
        self.armed.peek().map(|Reverse((at, ..))| *at)
    }
}

impl Timers {
    /// Arms a timer.
    pub fn set(&self, alarm: Alarm, after: Micros) {
        let at = Instant::now() + after.duration();
        let waker = {
            let mut inner = self.inner.lock();
            let is_first = inner.first().is_none_or(|first| at < first);
            inner.count += 1;
            let number = inner.count;
            inner.armed.push(Reverse((at, number, alarm)));
            if is_first { inner.waker.take() } else { None }
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn due(&self, now: Instant) -> Option<Alarm> {
        let mut inner = self.inner.lock();
        if inner.first()? > now {
            return None;
        }
        inner.armed.pop().map(|Reverse((_, _, alarm))| alarm)
    }

    /// Fires timers, for ever.
    pub async fn run<P: Ports>(self: Arc<Self>, node: Arc<Node<P>>) {
        loop {
            while let Some(alarm) = self.due(Instant::now()) {
                node.timer(alarm);
            }
            let first = self.inner.lock().first();
            // With nothing armed it sleeps until it is woken.
            let until = first.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
            let mut sleep = std::pin::pin!(sleep_until(until));
            poll_fn(|cx| {
                let mut inner = self.inner.lock();
                if inner.first() != first {
                    return Poll::Ready(());
                }
                inner.waker = Some(cx.waker().clone());
                drop(inner);
                sleep.as_mut().poll(cx)
            })
            .await;
        }
    }
}
