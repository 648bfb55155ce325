//! The network between nodes: each message may be lost, doubled, held back, or cut off.
//!
//! Links have no memory and promise no order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::random::Random;

/// The network without faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// What holds of links that are not listed.
    pub usual: Link,
    /// Links that are different: sender, receiver.
    pub links: Vec<(u32, u32, Link)>,
}

/// One direction between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// How long a message takes, from and to, in microseconds.
    pub latency_us: (u64, u64),
    /// Messages lost, in thousandths.
    pub loss: u32,
    /// Messages delivered twice, in thousandths.
    pub duplicate: u32,
    /// Messages held back so long that later ones overtake them, in thousandths.
    pub reorder: u32,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It arrives after so many microseconds.
    Arrives(u64),
    /// It arrives twice.
    Twice(u64, u64),
    /// It is held back, so that later ones overtake it.
    HeldBack(u64),
    /// It is lost by chance.
    Lost,
    /// It is lost because the link is cut.
    Cut,
    /// It waits for the script.
    Waits,
}

/// What is counted of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr)]
pub enum Counted {
    /// It arrived at a node that runs.
    #[strum(serialize = "delivered")]
    Delivered,
    /// It arrives twice.
    #[strum(serialize = "doubled")]
    Doubled,
    /// It is held back.
    #[strum(serialize = "held back")]
    HeldBack,
    /// It is lost by chance.
    #[strum(serialize = "lost")]
    Lost,
    /// Its link is cut.
    #[strum(serialize = "cut")]
    Cut,
    /// It arrived at a node that does not run.
    #[strum(serialize = "to a node that is down")]
    Nowhere,
    /// It would have told a node that is kept behind.
    #[strum(serialize = "withheld")]
    Withheld,
}

impl Counted {
    /// As tables have it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The network.
#[derive(Debug)]
pub struct SimNetwork {
    usual: Link,
    links: BTreeMap<(u32, u32), Link>,
    /// How many faults cut a link.
    cuts: BTreeMap<(u32, u32), u32>,
    /// Nodes that are cut off from all others.
    islands: Vec<Vec<u32>>,
    /// How much longer messages of a node take.
    slow: BTreeMap<u32, u64>,
    storm: (u32, u32, u32),
    random: Random,
}

impl SimNetwork {
    /// A network without faults.
    pub fn new(spec: &Network, random: Random) -> Self {
        let links = spec.links.iter().map(|(from, to, link)| ((*from, *to), *link)).collect();
        let (cuts, islands, slow) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        Self { usual: spec.usual, links, cuts, islands, slow, storm: (0, 0, 0), random }
    }

    /// Cuts a link once more, or mends one cut.
    pub fn cut(&mut self, from: u32, to: u32, on: bool) {
        let cuts = self.cuts.entry((from, to)).or_default();
        *cuts = if on { *cuts + 1 } else { cuts.saturating_sub(1) };
    }

    /// Cuts nodes off from all others, those that join later too, or no longer.
    pub fn isolate(&mut self, island: &[u32], on: bool) {
        if on {
            self.islands.push(island.to_vec());
        } else if let Some(at) = self.islands.iter().position(|other| other == island) {
            self.islands.remove(at);
        }
    }

    /// Makes a node slower or faster.
    pub fn slow_down(&mut self, node: u32, by_us: i64) {
        let slow = self.slow.entry(node).or_default();
        *slow = slow.saturating_add_signed(by_us);
    }

    /// Adds to what every link does.
    pub fn storm(&mut self, loss: i64, duplicate: i64, reorder: i64) {
        let add = |to: u32, by: i64| u32::try_from((i64::from(to) + by).max(0)).unwrap_or(1_000);
        let (l, d, r) = self.storm;
        self.storm = (add(l, loss), add(d, duplicate), add(r, reorder));
    }

    /// Ends all faults. Links stay as they are without faults, but lose nothing any more: convergence
    /// is promised once messages arrive.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.islands.clear();
        self.slow.clear();
        self.storm = (0, 0, 0);
        self.usual.loss = 0;
        self.links.values_mut().for_each(|link| link.loss = 0);
    }

    /// Decides what becomes of a message.
    pub fn fate(&mut self, from: u32, to: u32) -> Fate {
        let parts = |island: &Vec<u32>| island.contains(&from) != island.contains(&to);
        if self.cuts.get(&(from, to)).is_some_and(|cuts| *cuts > 0)
            || self.islands.iter().any(parts)
        {
            return Fate::Cut;
        }
        let link = self.links.get(&(from, to)).copied().unwrap_or(self.usual);
        let (loss, duplicate, reorder) = self.storm;
        let slow = |node| self.slow.get(&node).copied().unwrap_or(0);
        let extra = slow(from) + slow(to);
        let (least, most) = link.latency_us;
        // One draw decides between the fates, and each fate draws its own times.
        let dice = self.random.random_range(0..1_000);
        let mut latency = || extra + self.random.random_range(least..=most);
        let upto_lost = link.loss + loss;
        let upto_twice = upto_lost + link.duplicate + duplicate;
        let upto_held = upto_twice + link.reorder + reorder;
        if dice < upto_lost {
            Fate::Lost
        } else if dice < upto_twice {
            Fate::Twice(latency(), 3 * latency())
        } else if dice < upto_held {
            Fate::HeldBack(latency() + 10 * latency())
        } else {
            Fate::Arrives(latency())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(loss: u32) -> SimNetwork {
        let usual = Link { latency_us: (10, 20), loss, duplicate: 0, reorder: 0 };
        SimNetwork::new(&Network { usual, links: Vec::new() }, Random::new(1, "network"))
    }

    #[test]
    fn a_link_is_cut_as_often_as_it_is_mended() {
        let mut network = network(0);
        network.cut(1, 2, true);
        network.cut(1, 2, true);
        network.cut(1, 2, false);
        assert_eq!(network.fate(1, 2), Fate::Cut);
        assert!(matches!(network.fate(2, 1), Fate::Arrives(10..=20)), "the other way is open");
        network.cut(1, 2, false);
        assert!(matches!(network.fate(1, 2), Fate::Arrives(_)));
    }

    #[test]
    fn an_island_is_cut_off_from_all_others_and_not_within() {
        let mut network = network(0);
        network.isolate(&[1, 2], true);
        assert_eq!(network.fate(1, 9), Fate::Cut);
        assert_eq!(network.fate(9, 2), Fate::Cut);
        assert!(matches!(network.fate(1, 2), Fate::Arrives(_)));
        network.isolate(&[1, 2], false);
        assert!(matches!(network.fate(1, 9), Fate::Arrives(_)));
    }

    #[test]
    fn a_slow_node_adds_to_what_it_sends_and_what_it_gets() {
        let mut network = network(0);
        network.slow_down(1, 1_000);
        assert!(matches!(network.fate(1, 2), Fate::Arrives(1_010..=1_020)));
        assert!(matches!(network.fate(2, 1), Fate::Arrives(1_010..=1_020)));
        network.slow_down(1, -1_000);
        assert!(matches!(network.fate(1, 2), Fate::Arrives(10..=20)));
    }

    #[test]
    fn a_storm_comes_and_goes_and_healing_ends_all() {
        let mut network = network(100);
        network.storm(900, 0, 0);
        assert_eq!(network.fate(1, 2), Fate::Lost);
        network.storm(-900, 1_000, 0);
        let fates: Vec<Fate> = (0..100).map(|_| network.fate(1, 2)).collect();
        assert!(fates.iter().all(|fate| matches!(fate, Fate::Lost | Fate::Twice(..))));
        network.heal();
        assert!((0..100).all(|_| matches!(network.fate(1, 2), Fate::Arrives(_))));
    }
}
