//! A partition of the network itself: each node in a network namespace of its own, and the cable pulled.

use std::{
    io::Write as _,
    process::{Child, Command, Output, Stdio},
};

use tests::process::{binary, eventually};

const NODES: usize = 3;

/// Runs `ip`: its errors as text.
fn ip(args: &[&str]) -> Result<(), String> {
    let done = Command::new("ip").args(args).output().map_err(|why| format!("ip: {why}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr))),
    }
}

/// Namespaces with a node each, and one with the switch between them. They end with the test.
struct Net {
    name: String,
    nodes: Vec<Child>,
}

impl Drop for Net {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
        for place in (0..NODES).map(|n| self.of(n)).chain([self.hub()]) {
            let _ = ip(&["netns", "del", &place]);
        }
    }
}

impl Net {
    fn of(&self, node: usize) -> String {
        format!("{}-{}", self.name, node + 1)
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn peer(node: usize) -> String {
        format!("10.77.0.{}:17001", node + 1)
    }

    /// The namespaces and the cables between them.
    fn make() -> Result<Self, String> {
        let net = Self { name: format!("orrery-{}", std::process::id()), nodes: Vec::new() };
        let hub = net.hub();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "add", "switch", "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "switch", "up"])?;
        for node in 0..NODES {
            let (place, port) = (net.of(node), format!("port{node}"));
            ip(&["netns", "add", &place])?;
            let pair = ["type", "veth", "peer", "name", "net0", "netns", &place];
            ip(&[&["-n", &hub, "link", "add", &port][..], &pair].concat())?;
            ip(&["-n", &hub, "link", "set", &port, "master", "switch", "up"])?;
            let address = format!("10.77.0.{}/24", node + 1);
            ip(&["-n", &place, "addr", "add", &address, "dev", "net0"])?;
            ip(&["-n", &place, "link", "set", "net0", "up"])?;
            ip(&["-n", &place, "link", "set", "lo", "up"])?;
        }
        Ok(net)
    }

    fn orrery(&self, node: usize, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.of(node)]).arg(binary()).args(args);
        command.stdin(Stdio::null());
        command
    }

    fn start(&mut self) {
        let members = (0..NODES).map(Self::peer).collect::<Vec<_>>().join(",");
        for node in 0..NODES {
            let peer = Self::peer(node);
            let args = ["serve", "--in-memory", "--peer", &peer, "--initial-cluster", &members];
            let mut command = self.orrery(node, &args);
            let quiet = command.env("ORRERY_LOG", "error").stdout(Stdio::null());
            self.nodes.push(quiet.spawn().expect("ip starts"));
        }
    }

    /// Pulls a node's cable, or plugs it in again.
    fn plug(&self, node: usize, on: bool) {
        let (port, state) = (format!("port{node}"), if on { "up" } else { "down" });
        ip(&["-n", &self.hub(), "link", "set", &port, state]).expect("a cable can be pulled");
    }

    fn run(&self, node: usize, args: &[&str]) -> Output {
        self.orrery(node, args).output().expect("ip starts")
    }

    fn get(&self, node: usize, level: &str) -> Result<String, String> {
        let done = self.run(node, &["get", "a", "--level", level]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
        match done.status.success() {
            true => Ok(text(&done.stdout)),
            false => Err(text(&done.stderr)),
        }
    }

    /// Whether a node takes its link to another one for one that stands.
    fn is_linked(&self, node: usize, far: &str) -> bool {
        let told = self.run(node, &["status", "--json"]).stdout;
        let status: serde_json::Value = serde_json::from_slice(&told).expect("it tells");
        status[far].as_str().expect("a member").contains("link=up")
    }

    fn put(&self, node: usize, value: &str) -> Result<(), String> {
        let done = self.run(node, &["put", "a", value]);
        match done.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        }
    }
}

#[test]
fn a_majority_goes_on_without_the_one_that_is_cut_off_and_that_one_catches_up() {
    let mut net = match Net::make() {
        Ok(net) => net,
        Err(why) => {
            // Past the test runner, which keeps what passing tests print to itself.
            let told = format!("SKIPPED: no network namespaces here, so no real partition: {why}");
            writeln!(std::io::stderr(), "{told}").expect("an output");
            return;
        }
    };
    net.start();
    eventually("all nodes serve", || {
        (0..NODES).all(|node| net.put(node, "before").is_ok()).then_some(())
    });
    net.plug(2, false);
    net.put(0, "during").expect("two of three are a majority");
    assert_eq!(net.get(1, "quorum"), Ok("during".into()));
    let alone = net.get(2, "quorum").unwrap_err();
    assert!(alone.starts_with("error: TIMEOUT "), "{alone}");
    assert_eq!(net.get(2, "one"), Ok("before".into()), "ONE may be stale");
    let unknown = net.put(2, "alone").unwrap_err();
    assert!(
        ["error: TIMEOUT ", "error: CLOCK "].iter().any(|why| unknown.starts_with(why)),
        "{unknown}"
    );
    // A link that was not found broken would be used on, and seldom tried, long after the network healed.
    for (node, far) in [(0, "peer_n3"), (1, "peer_n3"), (2, "peer_n1"), (2, "peer_n2")] {
        eventually("the broken links are given up", || (!net.is_linked(node, far)).then_some(()));
    }
    net.plug(2, true);
    // The write that timed out is the newest, if it was made: all agree on one of the two.
    let settled = eventually("all nodes agree", || {
        let found: Vec<_> = (0..NODES).map(|node| net.get(node, "one")).collect();
        let first = found[0].clone().ok().filter(|value| value != "before")?;
        found.iter().all(|value| value.as_ref() == Ok(&first)).then_some(first)
    });
    assert!(["during", "alone"].contains(&settled.as_str()), "{settled}");
    assert_eq!(net.get(2, "quorum"), Ok(settled));
}
