//! Each cause of a line in the log is told at most once a second: the first line at once, and then how many more
//! there were like it. A storm of bad connections costs a line a second.
//!
//! The cause is the event's `cause`, which is not shown, and else the text of its message.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Subscriber, debug, error,
    field::{Field, Visit},
    info, trace, warn,
};
use tracing_subscriber::layer::{Context, Layer};

/// How often a cause is told at most.
const WINDOW: Duration = Duration::from_secs(1);
/// Causes that are known at a time at most. Those of one place in the code beyond that are taken as one.
const MOST_CAUSES: usize = 256;

/// Lets an event pass if its cause was not told within the last second, and counts the others.
#[derive(Clone, Debug, Default)]
pub struct Seldom(Arc<Mutex<BTreeMap<Cause, Told>>>);

/// The place in the code, and what is told there. No text: any.
type Cause = (String, Option<String>);

#[derive(Debug)]
struct Told {
    at: Instant,
    /// Those that did not pass since, and the last of them.
    more: u64,
    last: String,
    level: Level,
}

/// What an event says.
#[derive(Default)]
struct Texts {
    message: String,
    cause: Option<String>,
}

impl Visit for Texts {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "cause" => self.cause = Some(format!("{value:?}")),
            _ => {}
        }
    }
}

/// Writes the fields of an event, but for its cause.
pub fn write_field(
    out: &mut tracing_subscriber::fmt::format::Writer<'_>,
    field: &Field,
    value: &dyn Debug,
) -> fmt::Result {
    match field.name() {
        "message" => write!(out, "{value:?}"),
        "cause" => Ok(()),
        name => write!(out, " {name}={value:?}"),
    }
}

impl Seldom {
    /// Whoever panicked while it held the lock left counts, which are still good.
    fn causes(&self) -> MutexGuard<'_, BTreeMap<Cause, Told>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether a line passes.
    fn passes(&self, place: &str, texts: Texts, level: Level, now: Instant) -> bool {
        let mut causes = self.causes();
        let Texts { message, cause } = texts;
        let mut key = (place.to_string(), Some(cause.unwrap_or_else(|| message.clone())));
        if causes.len() >= MOST_CAUSES && !causes.contains_key(&key) {
            key.1 = None;
        }
        match causes.get_mut(&key) {
            None => {
                causes.insert(key, Told { at: now, more: 0, last: String::new(), level });
                true
            }
            Some(told) if now.saturating_duration_since(told.at) >= WINDOW && told.more == 0 => {
                told.at = now;
                true
            }
            Some(told) => {
                (told.more, told.last) = (told.more + 1, message);
                false
            }
        }
    }

    /// What is to be told now of those that did not pass: the level and the text of each line.
    fn due(&self, now: Instant) -> Vec<(Level, String)> {
        let mut due = Vec::new();
        self.causes().retain(|_, told| {
            if now.saturating_duration_since(told.at) < WINDOW {
                return true;
            }
            if told.more == 0 {
                return false;
            }
            let (more, last) = (std::mem::take(&mut told.more), std::mem::take(&mut told.last));
            due.push((told.level, format!("… and {more} more like this: {last}")));
            told.at = now;
            true
        });
        due
    }

    /// Tells of those that did not pass. To be called now and then.
    pub fn tell(&self) {
        for (level, text) in self.due(Instant::now()) {
            match level {
                Level::ERROR => error!("{text}"),
                Level::WARN => warn!("{text}"),
                Level::INFO => info!("{text}"),
                Level::DEBUG => debug!("{text}"),
                Level::TRACE => trace!("{text}"),
            }
        }
    }
}

impl<S: Subscriber> Layer<S> for Seldom {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let data = event.metadata();
        // Whoever asks for details is to have them; and what this file says is seldom enough.
        if *data.level() > Level::INFO || data.target() == module_path!() {
            return true;
        }
        let mut texts = Texts::default();
        event.record(&mut texts);
        self.passes(data.name(), texts, *data.level(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(seldom: &Seldom, message: &str, cause: Option<&str>, now: Instant) -> bool {
        let texts = Texts { message: message.into(), cause: cause.map(String::from) };
        seldom.passes("here", texts, Level::WARN, now)
    }

    #[test]
    fn a_cause_is_told_once_a_second_with_a_count() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(passes(&seldom, "bad 1", Some("bad"), at(0)));
        for (number, ms) in (2..).zip([1, 2, 998, 999]) {
            assert!(!passes(&seldom, &format!("bad {number}"), Some("bad"), at(ms)));
        }
        assert!(passes(&seldom, "bad 6", None, at(500)), "another cause");
        assert_eq!(seldom.due(at(999)), []);
        let told = (Level::WARN, "… and 4 more like this: bad 5".to_string());
        assert_eq!(seldom.due(at(1_000)), [told]);
        // That was a line of this cause too.
        assert!(!passes(&seldom, "bad 7", Some("bad"), at(1_999)));
        let told = (Level::WARN, "… and 1 more like this: bad 7".to_string());
        assert_eq!(seldom.due(at(2_500)), [told]);
        assert_eq!(seldom.due(at(3_500)), []);
        assert!(passes(&seldom, "bad 8", Some("bad"), at(3_500)));
        assert_eq!(seldom.causes().len(), 1, "the others are forgotten");
    }

    #[test]
    fn however_many_causes_there_are_few_lines_pass_and_little_is_kept() {
        let (seldom, now) = (Seldom::default(), Instant::now());
        let count = (0..10_000).filter(|n| passes(&seldom, &format!("bad {n}"), None, now)).count();
        assert_eq!(count, MOST_CAUSES + 1);
        assert_eq!(seldom.causes().len(), MOST_CAUSES + 1);
        let due = seldom.due(now + WINDOW);
        assert_eq!(due.len(), 1);
        let more = 10_000 - count;
        assert_eq!(due[0].1, format!("… and {more} more like this: bad 9999"));
    }
}
