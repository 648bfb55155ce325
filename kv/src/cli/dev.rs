//! `orrery dev`: a cluster on this machine.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Sender},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tempfile::TempDir;

use super::{client::tell, on_signal};
use crate::log::Lines;

#[derive(Args)]
pub struct DevArgs {
    /// Nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    nodes: u16,
    /// On how many nodes each key is: on all, while there are fewer. By default 3.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
    replication: Option<u16>,
    /// Where clients of the first node connect; the others follow. Peers use ports 10000 above.
    #[arg(long, default_value_t = 7_001, value_parser = clap::value_parser!(u16).range(1..=55_000))]
    port: u16,
    /// Where the nodes keep their data, each in a folder of its own: they go on from there next time. By default, in a
    /// temporary folder, which is gone at the end.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Keep nothing on disk.
    #[arg(long, conflicts_with = "data")]
    in_memory: bool,
}

/// How long the last lines may take.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long the nodes may take until all serve.
const PATIENCE: Duration = Duration::from_secs(30);

enum News {
    Ready,
    Ended(usize),
    Stop,
}

/// Nodes that run. They end with this process, however it ends: their standard input closes.
struct Nodes(Vec<Child>);

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.stdin.take());
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// Starts the nodes, and waits for the end.
pub fn run(args: &DevArgs) -> Result<bool> {
    let count = args.nodes;
    let replication = args.replication.unwrap_or(3);
    let clients: Vec<u16> = (0..count).map(|node| args.port + node).collect();
    for port in clients.iter().flat_map(|port| [*port, port + 10_000]) {
        TcpListener::bind(("127.0.0.1", port)).with_context(|| {
            format!("port {port} is taken; end what uses it, or choose others with --port")
        })?;
    }
    let temporary = match args.data.is_none() && !args.in_memory {
        true => Some(tempfile::tempdir().context("there can be no temporary folder; try --data")?),
        false => None,
    };
    // None: the nodes keep nothing.
    let data = args.data.as_deref().or(temporary.as_ref().map(TempDir::path));
    let (sender, news) = mpsc::channel();
    let mut nodes = Nodes(Vec::new());
    for node in 0..usize::from(count) {
        nodes.0.push(start(&clients, replication, node, data, &sender)?);
    }
    on_signal(move || {
        let _ = sender.send(News::Stop);
    })?;

    // Whoever does not read it is not waited for: the nodes run.
    let output = Lines::to_standard_output()?;
    let mut ready = 0;
    while ready < clients.len() {
        match news.recv_timeout(PATIENCE) {
            Ok(News::Ready) => ready += 1,
            Ok(News::Ended(node)) => bail!("node {} ended before it was ready", node + 1),
            Ok(News::Stop) => return Ok(end(nodes, args, &output)),
            Err(_) => bail!("the nodes are not ready after {PATIENCE:?}"),
        }
    }
    let say = |line: String| output.line(line.as_bytes());
    for (node, port) in clients.iter().enumerate() {
        say(format!("n{}  127.0.0.1:{port}", node + 1));
    }
    let port = args.port;
    say(format!(
        "{count} {}, R = {replication}. Try: redis-cli -p {port}. Ctrl-C ends all.\n\
         One more: orrery serve --join 127.0.0.1:{} --client 127.0.0.1:{} --peer 127.0.0.1:{} --in-memory",
        if count == 1 { "node" } else { "nodes" },
        port + 10_000,
        port + count,
        port + count + 10_000,
    ));
    let mut left = clients.len();
    loop {
        match news.recv() {
            Ok(News::Ended(node)) => {
                left -= 1;
                if left == 0 {
                    bail!("node {} ended, and it was the last one", node + 1);
                }
                tell(&format_args!("node {} ended; {left} go on", node + 1));
            }
            Ok(News::Ready) => {}
            Ok(News::Stop) | Err(_) => return Ok(end(nodes, args, &output)),
        }
    }
}

/// Ends the nodes, and says so.
fn end(nodes: Nodes, args: &DevArgs, output: &Lines) -> bool {
    output.line(b"ending all nodes");
    drop(nodes);
    let kept = match &args.data {
        Some(data) => format!("what they hold is in {}", data.display()),
        None => "what they held is gone".into(),
    };
    output.line(format!("all nodes have ended, and {kept}").as_bytes());
    output.flush(LAST_WORDS);
    true
}

fn start(
    clients: &[u16],
    replication: u16,
    node: usize,
    data: Option<&Path>,
    news: &Sender<News>,
) -> Result<Child> {
    let peers: Vec<String> =
        clients.iter().map(|port| format!("127.0.0.1:{}", port + 10_000)).collect();
    let program = std::env::current_exe().context("this program cannot be found")?;
    let mut command = Command::new(program);
    command
        .args(["serve", "--exit-with-stdin", "--client", &format!("127.0.0.1:{}", clients[node])])
        .args(["--peer", &peers[node], "--initial-cluster", &peers.join(",")])
        .args(["--replication", &replication.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    match data {
        Some(data) => command.arg("--data").arg(data.join(format!("n{}", node + 1))),
        None => command.arg("--in-memory"),
    };
    if std::env::var_os("ORRERY_LOG").is_none() {
        command.env("ORRERY_LOG", "error");
    }
    // A process group of its own: Ctrl-C reaches us, and we end the nodes.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().context("a node cannot be started")?;
    let output = child.stdout.take().context("the node has an output")?;
    let news = news.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            if line.is_ok_and(|line| line.starts_with("ready ")) {
                let _ = news.send(News::Ready);
            }
        }
        let _ = news.send(News::Ended(node));
    });
    Ok(child)
}
