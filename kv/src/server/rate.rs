//! How many commands a second come.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::node::locks::Mutex;

/// How many commands a second were taken lately.
#[derive(Debug, Default)]
pub struct Rate(Mutex<VecDeque<(Instant, u64)>>);

/// Between two looks at how many commands there were, and how many of the looks are kept: as in Redis.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOKS: usize = 16;

impl Rate {
    /// So many commands were taken in all by now.
    pub fn look(&self, now: Instant, commands: u64) {
        let mut looks = self.0.lock();
        if looks.len() == LOOKS {
            looks.pop_front();
        }
        looks.push_back((now, commands));
    }

    /// Commands a second, over the looks that are kept.
    pub fn per_second(&self) -> u64 {
        let looks = self.0.lock();
        let (Some((first, before)), Some((last, after))) = (looks.front(), looks.back()) else {
            return 0;
        };
        let micros = u64::try_from(last.duration_since(*first).as_micros()).unwrap_or(u64::MAX);
        ((after - before) * 1_000_000).checked_div(micros).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_looks() {
        let (rate, start) = (Rate::default(), Instant::now());
        assert_eq!(rate.per_second(), 0);
        for look in 0..40u32 {
            // A thousand commands at each of the first looks, and then none.
            rate.look(start + look * LOOK_EVERY, 1_000 * u64::from(look.min(10)));
            match look {
                1..=10 => assert_eq!(rate.per_second(), 10_000),
                26.. => assert_eq!(rate.per_second(), 0),
                _ => {}
            }
        }
    }
}
