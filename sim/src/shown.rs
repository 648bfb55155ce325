//! Versions and times as people are shown them.

use harness::world::clock::START_US;
use kv::core::{record::Version, time::Timestamp};

/// True time, `at` microseconds into a run.
pub fn true_time(at: u64) -> Timestamp {
    Timestamp::from_micros(START_US + at)
}

/// A version as people are shown it: when it was given, in milliseconds of the run by its coordinator's clock
/// (and its place among those of that microsecond), and by whom.
pub fn shown(version: impl Into<Option<Version>>) -> String {
    match version.into() {
        Some(version) => format!("{}@{}", relative_ms(version.timestamp), version.node),
        None => "nothing".into(),
    }
}

/// A timestamp in milliseconds of the run.
pub fn relative_ms(timestamp: Timestamp) -> String {
    let micros = i128::from(timestamp.micros()) - i128::from(START_US);
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let text = format!("{sign}{}.{:03}", micros / 1_000, micros % 1_000);
    match timestamp.0 - Timestamp::from_micros(timestamp.micros()).0 {
        0 => text,
        logical => format!("{text}+{logical}"),
    }
}

#[cfg(test)]
mod tests {
    use kv::core::types::NodeId;

    use super::*;

    #[test]
    fn versions_are_shown_in_milliseconds_of_the_run() {
        let version = |us, node| Version { timestamp: true_time(us), node: NodeId(node) };
        assert_eq!(shown(version(1_234_567, 2)), "1234.567@n2");
        assert_eq!(shown(None), "nothing");
        let Version { timestamp, node } = version(5, 1);
        assert_eq!(shown(Version { timestamp: Timestamp(timestamp.0 + 3), node }), "0.005+3@n1");
    }
}
