//! A cluster whose nodes are started again one after the other while clients write, by the README's recipe as it
//! is written: end one, start it again, wait for `orrery ring --wait`, go on. Nobody looks at anything else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use redis::{Commands as _, Connection};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    cluster::Cluster,
    process::{eventually, orrery},
    rings::{fill, ring},
};

/// Keys of each writer: it writes them again and again, each time a greater number.
const KEYS: u64 = 500;
/// How long a writer waits for a node before it takes the next one.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Nodes that are started again.
    pub rounds: usize,
    /// Clients that write at QUORUM all the while.
    pub writers: usize,
    /// Records that are there from the beginning.
    pub records: usize,
    /// How long `ring --wait` may take.
    pub timeout_s: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Writes that were answered with OK.
    pub acknowledged: u64,
    /// Keys whose last acknowledged write, or a later one, is not found in the end.
    pub lost: usize,
    /// Rounds whose `ring --wait` did not end with 0.
    pub wedged: usize,
    /// How many slots more or less all members have.
    pub moved: u64,
    /// Writes that were answered with an error, by its first word.
    pub refused: BTreeMap<String, u64>,
}

struct Writer<'a> {
    number: usize,
    nodes: Vec<String>,
    stop: &'a AtomicBool,
    acknowledged: &'a AtomicU64,
    refused: &'a Mutex<BTreeMap<String, u64>>,
}

impl Writer<'_> {
    /// Writes until it is stopped: the last number of each key that was acknowledged.
    fn run(&self) -> BTreeMap<String, u64> {
        let (mut held, mut next) = (None, self.number);
        let mut last = BTreeMap::new();
        for number in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let Some(mut connection) = held.take().or_else(|| self.open(&mut next)) else {
                // Whoever is there may be as busy as this machine.
                thread::yield_now();
                continue;
            };
            let key = format!("w{}-{}", self.number, number % KEYS);
            match connection.set::<_, _, ()>(&key, number) {
                Ok(()) => {
                    last.insert(key, number);
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    held = Some(connection);
                }
                // It may have been written or not: only a greater number may be found in its place.
                Err(why) if why.is_io_error() || why.is_connection_dropped() => {}
                Err(why) => {
                    let code = why.code().unwrap_or("other").to_string();
                    *self.refused.lock().expect("no writer panics").entry(code).or_default() += 1;
                    held = Some(connection);
                }
            }
        }
        last
    }

    fn open(&self, next: &mut usize) -> Option<Connection> {
        let node = &self.nodes[*next % self.nodes.len()];
        *next += 1;
        open(node).ok()
    }
}

fn open(node: &str) -> redis::RedisResult<Connection> {
    let client = redis::Client::open(format!("redis://{node}"))?;
    let connection = client.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}

/// How many slots each member has.
fn slots(cluster: &Cluster) -> BTreeMap<String, u64> {
    let ring = eventually("a ring", || ring(0, cluster));
    let members = ring["members"].as_array().expect("members").iter();
    let of = |member: &Value| Some((member["id"].as_str()?.to_string(), member["slots"].as_u64()?));
    members.map(|member| of(member).expect("a member")).collect()
}

fn moved(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> u64 {
    let ids: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let of = |slots: &BTreeMap<String, u64>, id| slots.get(id).copied().unwrap_or(0);
    ids.into_iter().map(|id| of(before, id).abs_diff(of(after, id))).sum()
}

/// Starts all nodes of a cluster again, one after the other, as often as is wanted. `tell` hears of each round:
/// its number, how long `ring --wait` took, and what it said if it failed.
pub fn restart_all(
    cluster: &mut Cluster,
    trial: Trial,
    mut tell: impl FnMut(usize, Duration, Option<&str>),
) -> Outcome {
    let nodes: Vec<String> = (0..cluster.size()).map(|n| cluster.address(n).to_string()).collect();
    fill(cluster, 0, trial.records);
    let before = slots(cluster);
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let refused = Mutex::default();
    let mut wedged = 0;
    let last: BTreeMap<String, u64> = thread::scope(|scope| {
        let (stop, acknowledged, refused) = (&stop, &acknowledged, &refused);
        let writers: Vec<_> = (0..trial.writers)
            .map(|number| Writer { number, nodes: nodes.clone(), stop, acknowledged, refused })
            .map(|writer| scope.spawn(move || writer.run()))
            .collect();
        for round in 0..trial.rounds {
            let node = u16::try_from(round % nodes.len()).expect("few nodes");
            let process = &mut cluster.nodes[usize::from(node)];
            process.signal(Signal::TERM);
            process.wait();
            cluster.nodes[usize::from(node)] = cluster.process(node);
            let began = Instant::now();
            let timeout = trial.timeout_s.to_string();
            let at = nodes[usize::from(node)].as_str();
            let (code, _, why) =
                orrery(&["ring", "--wait", "--timeout", &timeout, "--connect", at]);
            wedged += usize::from(code != Some(0));
            tell(round, began.elapsed(), (code != Some(0)).then_some(why.as_str()));
        }
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().flat_map(|writer| writer.join().expect("a writer ends")).collect()
    });
    let mut connection = cluster.connect(0);
    let mut found = |key: &str| -> Option<u64> {
        eventually("an answer", || connection.get::<_, Option<u64>>(key).ok())
    };
    let mut lost = 0;
    for (key, number) in &last {
        lost += usize::from(found(key).is_none_or(|found| found < *number));
    }
    for number in 0..trial.records {
        lost += usize::from(found(&format!("k{number}")) != Some(number as u64));
    }
    Outcome {
        acknowledged: acknowledged.into_inner(),
        lost,
        wedged,
        moved: moved(&before, &slots(cluster)),
        refused: refused.into_inner().expect("no writer panicked"),
    }
}
