//! `orrery serve`.

use std::{io::Read as _, net::IpAddr, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::AddressError;
use crate::{
    core::{quorum::Level, time::Micros, types::is_address},
    log::{self, Lines, Lost},
    node::config::NodeConfig,
    server::{
        self, Durability, Ended, Settings, Start,
        places::{FEWEST_FILES, Places},
    },
};

#[derive(Args)]
pub struct ServeArgs {
    /// Where this node listens for clients. Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7001", value_parser = listening_address)]
    client: String,
    /// Where clients reach this node: what the ring says of it. By default --client; needed where that is all
    /// addresses of this machine, such as 0.0.0.0:7001.
    #[arg(long, value_name = "HOST:PORT", value_parser = advertised_address)]
    advertise_client: Option<String>,
    /// Where this node listens for peers.
    #[arg(long, default_value = "127.0.0.1:17001", value_parser = peer_address)]
    peer: String,
    /// Where the other members reach this node: its entry in --initial-cluster. By default --peer; needed
    /// where that is all addresses of this machine, such as 0.0.0.0:17001.
    #[arg(long, value_name = "HOST:PORT", value_parser = advertised_address)]
    advertise_peer: Option<String>,
    /// The peer addresses of all members, with commas between them, the same on each node. By
    /// default, this node alone.
    #[arg(long, value_delimiter = ',', value_parser = peer_address)]
    initial_cluster: Vec<String>,
    /// The peer addresses of some members of a cluster that runs, with commas between them: this node
    /// joins it as a new member.
    #[arg(long, value_delimiter = ',', value_parser = peer_address, conflicts_with_all = ["initial_cluster", "replication"])]
    join: Vec<String>,
    /// On how many members each key is: on all, while there are fewer. By default 3.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
    replication: Option<u16>,
    /// The folder of this node's journal: made if there is none, and of no other process. A node that starts again
    /// with it is the member that it was.
    #[arg(long, value_name = "DIR", default_value = "orrery-data")]
    data: PathBuf,
    /// Keep nothing on disk: what this node holds is lost when it ends, and it comes back as a new member.
    #[arg(long, conflicts_with_all = ["data", "durability", "accept_loss"])]
    in_memory: bool,
    /// What an acknowledgement waits for.
    #[arg(long, value_enum, default_value_t)]
    durability: Durability,
    /// Go on though a part of the journal is damaged, and this node was the only owner of what is lost.
    #[arg(long)]
    accept_loss: bool,
    /// Parts of the store that work in parallel.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    shards: u16,
    /// Threads. By default, one for each core but one.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Client connections at a time.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    max_clients: u32,
    /// Bytes that all client connections together may hold: commands that are not complete, and answers that
    /// were not taken. Beyond it those that hold the most are closed. A command, and the values of an answer, may
    /// have an eighth of it.
    #[arg(long, default_value_t = 256 * 1024 * 1024, value_parser = clap::value_parser!(u64).range(1024 * 1024..=1 << 40))]
    max_client_memory: u64,
    /// The level of reads where a connection does not choose one: one, session, quorum, all or
    /// linearizable.
    #[arg(long, default_value_t = Level::Quorum)]
    default_read: Level,
    /// The level of writes where a connection does not choose one: one, session, quorum, all or
    /// linearizable.
    #[arg(long, default_value_t = Level::Quorum)]
    default_write: Level,
    /// A member that answered nobody for so many seconds is evicted, if more members stay than there are
    /// replicas. 0: nobody is evicted by itself.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(..=86_400))]
    evict_after: u32,
    /// For tests and trials: the node goes by a wall clock that is so many milliseconds ahead of this machine's.
    #[arg(long, hide = true, default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1_000_000_000_000..=1_000_000_000_000))]
    clock_offset_ms: i64,
    /// End when the standard input does: whoever started this process is gone.
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

/// An address: a host, and a port that is not 0.
fn peer_address(text: &str) -> Result<String, AddressError> {
    match is_address(text) {
        true => Ok(text.to_string()),
        false => Err(AddressError::OfPeers),
    }
}

/// An address that others connect to.
fn advertised_address(text: &str) -> Result<String, AddressError> {
    match is_wildcard(text) {
        true => Err(AddressError::Wildcard),
        false => peer_address(text),
    }
}

/// Whether it stands for all addresses of a machine.
fn is_wildcard(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
}

/// The address that others are told: the one that is said, or else the one to listen at.
fn advertised(said: Option<String>, listens: &str, name: &str, who: &str) -> String {
    match said {
        Some(said) => said,
        None if is_wildcard(listens) => super::wrong_usage(format_args!(
            "--{name} {listens} listens at all addresses of this machine, and {who} have to be told one of \
             them: add --advertise-{name} HOST:PORT, at which they reach this node"
        )),
        None => listens.to_string(),
    }
}

/// An address to listen at: port 0 takes a free one.
fn listening_address(text: &str) -> Result<String, AddressError> {
    match text.strip_suffix(":0").filter(|host| !host.is_empty()) {
        Some(_) => Ok(text.to_string()),
        None => super::client_address(text),
    }
}

/// Runs a node until it is asked to end.
pub fn run(args: ServeArgs) -> Result<bool> {
    let peer = advertised(args.advertise_peer.clone(), &args.peer, "peer", "its peers");
    let client = advertised(args.advertise_client.clone(), &args.client, "client", "clients");
    let lost_lines = log::start()?.lost();
    log::abort_on_panic();
    if args.join.contains(&peer) {
        bail!("--join names {peer}, which is this process; give the --peer of a member");
    }
    if args.client == args.peer {
        bail!("--client and --peer are both {}; peers and clients need a port each", args.peer);
    }
    let places = places(args.max_clients as usize)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = args.workers.map_or(cores.saturating_sub(1).max(1), usize::from);
    let exit_with_stdin = args.exit_with_stdin;
    let settings = settings(args, (client, peer.clone()), places, lost_lines);
    let output = Lines::to_standard_output()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let ended = runtime.block_on(async {
        let stop = stop(exit_with_stdin)?;
        server::serve(settings, stop, |address, node| {
            output.line(format!("ready client={address} peer={peer} node={node}").as_bytes());
        })
        .await
    })?;
    // Threads that wait for input are not waited for.
    runtime.shutdown_background();
    Ok(match ended {
        Ended::Drained | Ended::Left => true,
        Ended::Cancelled => false,
    })
}

fn settings(
    args: ServeArgs,
    (advertise_client, advertise_peer): (String, String),
    places: Places,
    lost_lines: Lost,
) -> Settings {
    let members = match args.initial_cluster.is_empty() {
        true => vec![advertise_peer.clone()],
        false => args.initial_cluster,
    };
    let replication = args.replication.map_or(3, usize::from);
    let start = match args.join.is_empty() {
        true => Start::Form { members, replication },
        false => Start::Join { members: args.join },
    };
    let node = NodeConfig {
        shards: args.shards,
        seed: server::secret_seed(),
        evict_after: Micros::from_millis(u64::from(args.evict_after) * 1_000),
        ..NodeConfig::default()
    };
    Settings {
        client: args.client,
        peer: args.peer,
        advertise_client,
        advertise_peer,
        start,
        data: (!args.in_memory).then_some(args.data),
        durability: args.durability,
        accept_loss: args.accept_loss,
        places,
        most_client_memory: usize::try_from(args.max_client_memory).unwrap_or(usize::MAX),
        lost_lines,
        default_read: args.default_read,
        default_write: args.default_write,
        node,
        clock_offset_ms: args.clock_offset_ms,
    }
}

/// Done when the process is asked to end.
fn stop(exit_with_stdin: bool) -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be handled")?;
    let (gone, mut parent_gone) = tokio::sync::mpsc::channel::<()>(1);
    if exit_with_stdin {
        std::thread::spawn(move || {
            let _gone = gone;
            let mut rest = [0; 64];
            while matches!(std::io::stdin().read(&mut rest), Ok(size) if size > 0) {}
        });
    } else {
        // Kept open: nobody's end is waited for.
        std::mem::forget(gone);
    }
    Ok(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = parent_gone.recv() => {}
        }
    })
}

/// How many connections there may be at a time: what the limit of open files allows, which is raised as far as it
/// goes, for each connection takes one.
fn places(most_clients: usize) -> Result<Places> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(why) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of open files stays as it is: {why}");
        limit = getrlimit(Resource::Nofile);
    }
    // None: there is no limit.
    let files =
        limit.current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    let open = std::fs::read_dir("/proc/self/fd").map_or(8, Iterator::count);
    let places = Places::within(files, open, most_clients).with_context(|| {
        format!(
            "at most {files} files may be open (ulimit -Hn), and {open} are open already: a node needs at least \
             {FEWEST_FILES}"
        )
    })?;
    if places.clients < most_clients {
        tracing::warn!(
            "at most {} clients at a time, not {most_clients} (--max-clients): {files} files may be open \
             (ulimit -Hn), and some are kept for peers, for operators and for the process itself",
            places.clients
        );
    }
    Ok(places)
}
