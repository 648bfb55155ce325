//! The processes that wait here for a place in the ring, and those that are to wait no more: an operator gave
//! their joins up.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::node::locks::Mutex;

/// How long a process is refused whose join was given up before it was decided. It ends at the first refusal;
/// what it had asked of other members is late by seconds at most.
pub const REMEMBERED: Duration = Duration::from_secs(300);
/// Such processes at most: the one that was refused first is forgotten first.
const MOST_REFUSED: usize = 256;

/// Who waits, and who is refused.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By their instances: where each listens, and over how many connections it asks.
    asking: BTreeMap<u64, (String, usize)>,
    /// Whose joins were given up, and when.
    refused: BTreeMap<u64, Instant>,
}

impl Waiting {
    /// Notes that a process asks. The matching call is [`Waiting::end`].
    pub fn begin(&self, instance: u64, address: &str) {
        let mut inner = self.0.lock();
        let asking = inner.asking.entry(instance).or_insert_with(|| (address.to_string(), 0));
        asking.1 += 1;
    }

    /// Notes that a process has its answer, or went away: whether it asks over no other connection.
    pub fn end(&self, instance: u64) -> bool {
        let mut inner = self.0.lock();
        let Some((_, connections)) = inner.asking.get_mut(&instance) else { return true };
        *connections -= 1;
        let is_last = *connections == 0;
        if is_last {
            inner.asking.remove(&instance);
        }
        is_last
    }

    /// How many processes wait.
    pub fn count(&self) -> usize {
        self.0.lock().asking.len()
    }

    /// Refuses all that wait, but for those that have their place: who they are, and where they listen.
    pub fn refuse_all(&self, has_place: impl Fn(u64) -> bool, now: Instant) -> Vec<(u64, String)> {
        let mut inner = self.0.lock();
        let waiting = inner.asking.iter().filter(|(instance, _)| !has_place(**instance));
        let waiting: Vec<_> = waiting.map(|(instance, (at, _))| (*instance, at.clone())).collect();
        inner.refused.retain(|_, since| now.duration_since(*since) < REMEMBERED);
        inner.refused.extend(waiting.iter().map(|(instance, _)| (*instance, now)));
        while inner.refused.len() > MOST_REFUSED {
            let first = inner.refused.iter().min_by_key(|(_, since)| **since);
            let first = first.map(|(instance, _)| *instance);
            first.and_then(|first| inner.refused.remove(&first));
        }
        waiting
    }

    /// Whether a process is refused.
    pub fn refuses(&self, instance: u64, now: Instant) -> bool {
        let refused = &self.0.lock().refused;
        refused.get(&instance).is_some_and(|since| now.duration_since(*since) < REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_wait_are_refused_for_a_while_and_others_are_not() {
        let (waiting, now) = (Waiting::default(), Instant::now());
        waiting.begin(1, "h1:1");
        waiting.begin(1, "h1:1");
        waiting.begin(2, "h2:1");
        waiting.begin(3, "h3:1");
        assert!(!waiting.end(1), "it asks over another connection");
        assert!(waiting.end(2));
        assert_eq!(waiting.refuse_all(|instance| instance == 3, now), [(1, "h1:1".to_string())]);
        let refused = |at| [1, 2, 3, 4].map(|instance| waiting.refuses(instance, at));
        assert_eq!(refused(now), [true, false, false, false]);
        assert_eq!(refused(now + REMEMBERED), [false; 4]);
        assert!(waiting.end(1));
        assert!(waiting.refuse_all(|_| false, now).contains(&(3, "h3:1".to_string())));
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let (waiting, now) = (Waiting::default(), Instant::now());
        let count = MOST_REFUSED as u64 + 1;
        for instance in 0..count {
            waiting.begin(instance, "h:1");
            waiting.refuse_all(|_| false, now + Duration::from_millis(instance));
            waiting.end(instance);
        }
        assert!(!waiting.refuses(0, now), "the first is forgotten");
        assert!((1..count).all(|instance| waiting.refuses(instance, now)));
    }
}
