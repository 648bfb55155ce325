//! Writes that go on while nodes are killed: what was acknowledged must be there afterwards.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use redis::Commands as _;

use crate::{
    cluster::Cluster,
    process::{Process, eventually},
};

/// How long a writer waits for an answer.
const ANSWER: Duration = Duration::from_secs(2);

/// A key that one client writes, ever higher numbers.
#[derive(Clone, Debug)]
pub struct Written {
    key: String,
    /// The highest number that was acknowledged, and the highest that was asked for.
    acknowledged: u64,
    asked: u64,
}

impl Written {
    /// Keys that nobody wrote yet.
    pub fn keys(count: usize) -> Vec<Self> {
        let key = |n| Self { key: format!("counter {n}"), acknowledged: 0, asked: 0 };
        (0..count).map(key).collect()
    }

    /// The highest number that was acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Writes to a node until that fails or is to end. Says how many writes were acknowledged.
    fn write(&mut self, at: SocketAddr, ends: &AtomicBool) -> u64 {
        let client = redis::Client::open(format!("redis://{at}"));
        let client = client.expect("an address");
        let Ok(mut connection) = client.get_connection_with_timeout(ANSWER) else { return 0 };
        let _ = connection.set_read_timeout(Some(ANSWER));
        let mut count = 0;
        while !ends.load(Ordering::Acquire) {
            self.asked += 1;
            match connection.set::<_, _, ()>(&self.key, self.asked) {
                Ok(()) => {
                    self.acknowledged = self.asked;
                    count += 1;
                }
                Err(_) => break,
            }
        }
        count
    }

    /// Reads it: whether what is found was written, and is not older than what was acknowledged.
    fn is_there(&self, cluster: &Cluster, node: u16) -> Result<(), String> {
        let mut connection = cluster.connect(node);
        // A majority may not be there yet.
        let found: Option<u64> = eventually("a read", || connection.get(&self.key).ok());
        match found.unwrap_or(0) {
            found if (self.acknowledged..=self.asked).contains(&found) => Ok(()),
            found => Err(format!(
                "{:?}: {found} was found, {} was acknowledged and {} asked for",
                self.key, self.acknowledged, self.asked
            )),
        }
    }
}

/// Writes all keys, each by a client of its own, and kills all nodes after so long. Says how many writes were
/// acknowledged.
pub fn write_and_kill(cluster: &mut Cluster, keys: &mut [Written], after: Duration) -> u64 {
    let ends = AtomicBool::new(false);
    let addresses: Vec<SocketAddr> =
        (0..cluster.size()).map(|node| cluster.address(node)).collect();
    std::thread::scope(|scope| {
        let ends = &ends;
        let jobs = keys.iter_mut().zip(addresses.iter().cycle());
        let writers: Vec<_> =
            jobs.map(|(key, at)| scope.spawn(move || key.write(*at, ends))).collect();
        std::thread::sleep(after);
        cluster.nodes.iter_mut().for_each(Process::kill_without_waiting);
        cluster.nodes.iter_mut().for_each(Process::kill);
        ends.store(true, Ordering::Release);
        writers.into_iter().map(|writer| writer.join().expect("no writer panics")).sum()
    })
}

/// Starts all nodes again, and waits until they serve.
pub fn start_again(cluster: &mut Cluster) {
    cluster.nodes.clear();
    cluster.nodes = (0..cluster.size()).map(|node| cluster.process(node)).collect();
    for node in &mut cluster.nodes {
        assert!(node.line("ready ").is_some(), "a node ends: {}", node.log());
    }
}

/// Reads all keys, through all nodes in turn: what is missing.
pub fn missing(cluster: &Cluster, keys: &[Written]) -> Vec<String> {
    let looks = (0..).zip(keys).map(|(n, key): (u16, _)| key.is_there(cluster, n % cluster.size()));
    looks.filter_map(Result::err).collect()
}
