//! Whose clock is off: what this node measured, and what its log says of it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tracing::{info, warn};

use super::{ports::ServerNode, state::Server};
use crate::core::{
    ring::Ring,
    time::{Micros, Seconds},
    types::NodeId,
};

/// How often the measurements are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the log says that a clock is still off.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// How far clocks are ahead of the median of those that this node measured, its own among them, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// All that are known: this node's own only when it was compared with enough others.
    pub ahead_us: BTreeMap<NodeId, i64>,
    /// How far a clock may be off.
    most: Micros,
}

impl Clocks {
    /// A clock as INFO shows it.
    pub fn shown(&self, node: NodeId) -> String {
        self.ahead_us.get(&node).map_or("unknown".into(), ToString::to_string)
    }
}

/// What a node measured. Each of its shards measures for itself: of theirs the one in the middle.
pub fn measured(node: &ServerNode) -> Clocks {
    let mut found: BTreeMap<NodeId, Vec<i64>> = BTreeMap::new();
    let mut most = Micros(0);
    for shard in 0..node.shards() {
        node.inspect(shard, |shard| {
            let guard = shard.clocks();
            most = guard.most();
            let ours = guard.ahead_us();
            if !guard.offsets().is_empty() && shard.has_measured_clocks() {
                found.entry(node.id()).or_default().push(ours);
                for (peer, ahead) in guard.offsets() {
                    found.entry(*peer).or_default().push(ahead.saturating_add(ours));
                }
            }
        });
    }
    let middle = |(id, mut all): (NodeId, Vec<i64>)| {
        all.sort_unstable();
        (id, all[all.len() / 2])
    };
    Clocks { ahead_us: found.into_iter().map(middle).collect(), most }
}

/// What the log is to say of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// It is off.
    Off(NodeId, i64),
    /// It is so no more.
    Over(NodeId, i64),
}

/// Which clocks are off, and when the log said so last.
#[derive(Debug, Default)]
struct Watch(BTreeMap<NodeId, Instant>);

impl Watch {
    fn look(&mut self, now: Instant, ring: &Ring, clocks: &Clocks) -> Vec<Line> {
        let mut lines = Vec::new();
        self.0.retain(|node, _| ring.members().contains_key(node));
        for (node, ahead_us) in &clocks.ahead_us {
            let off = ahead_us.unsigned_abs();
            match self.0.get(node) {
                None if off > clocks.most.0 => {
                    self.0.insert(*node, now);
                    lines.push(Line::Off(*node, *ahead_us));
                }
                None => {}
                // Not as soon as it is good enough: a clock at the bound would fill the log.
                Some(_) if off <= clocks.most.0 / 2 => {
                    self.0.remove(node);
                    lines.push(Line::Over(*node, *ahead_us));
                }
                Some(said) if now.duration_since(*said) >= SAY_EVERY => {
                    self.0.insert(*node, now);
                    lines.push(Line::Off(*node, *ahead_us));
                }
                Some(_) => {}
            }
        }
        lines
    }
}

/// Logs whose clock is off, for ever: when it begins, now and then while it lasts, and when it is over.
pub async fn watch(server: Arc<Server>) {
    let mut watch = Watch::default();
    loop {
        sleep(LOOK_EVERY).await;
        let (ring, clocks) = (server.node.ring(), measured(&server.node));
        if clocks.most.0 > 0 {
            for line in watch.look(Instant::now(), &ring, &clocks) {
                say(line, server.node.id(), clocks.most);
            }
        }
    }
}

fn say(line: Line, me: NodeId, most: Micros) {
    let (Line::Off(node, ahead_us) | Line::Over(node, ahead_us)) = line;
    let whose =
        if node == me { "this node's clock".into() } else { format!("the clock of {node}") };
    let off = Seconds(ahead_us.unsigned_abs());
    match line {
        Line::Off(..) => {
            let side = if ahead_us > 0 { "ahead of" } else { "behind" };
            warn!(
                "{whose} is off by {off}, {side} the other members' (more than {}): {node} refuses writes (CLOCK) \
                 until it is set right",
                Seconds(most.0),
            );
        }
        Line::Over(..) => info!("{whose} agrees with the other members' again: it is off by {off}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ring::RING_SIZE;

    #[test]
    fn the_log_says_when_a_clock_goes_off_each_minute_while_it_is_and_when_it_is_over() {
        let addresses: Vec<String> = (1..=3).map(|n| format!("h{n}:1")).collect();
        let ring = Ring::form(&addresses, 3, RING_SIZE).unwrap();
        let (mut watch, start) = (Watch::default(), Instant::now());
        let mut look = |seconds: u64, ahead_us: i64| {
            let ahead_us = BTreeMap::from([(NodeId(1), 0), (NodeId(2), ahead_us)]);
            let clocks = Clocks { ahead_us, most: Micros(500_000) };
            watch.look(start + Duration::from_secs(seconds), &ring, &clocks)
        };
        assert_eq!(look(0, 500_000), []);
        assert_eq!(look(1, -500_001), [Line::Off(NodeId(2), -500_001)]);
        assert_eq!(look(2, -900_000), []);
        assert_eq!(look(60, -900_000), []);
        assert_eq!(look(61, -900_000), [Line::Off(NodeId(2), -900_000)]);
        assert_eq!(look(62, -400_000), [], "at the bound it goes to and fro");
        assert_eq!(look(63, 250_000), [Line::Over(NodeId(2), 250_000)]);
        assert_eq!(look(64, 600_000), [Line::Off(NodeId(2), 600_000)]);
    }
}
