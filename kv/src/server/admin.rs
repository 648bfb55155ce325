//! What a server tells of itself: INFO, COMMAND, CONFIG and HELLO.

use std::fmt::Write as _;

use super::{Server, rings};
use crate::{
    resp::{
        command::{COMMANDS, CommandsAbout},
        reply::{self, Dialect},
    },
    shard::Shard,
};

/// Records that this node holds: all, and those that are not tombstones.
pub fn record_counts(server: &Server) -> (usize, usize) {
    let counts = |shard| server.node.inspect(shard, Shard::counts);
    (0..server.node.shards()).map(counts).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// The text of `INFO`: sections, and lines of `name:value`.
pub fn info(server: &Server) -> String {
    let node = &server.node;
    let ring = node.ring();
    let (sessions, opened) = node.ports().sessions().counts();
    let (records, live) = record_counts(server);
    let in_flight: usize =
        (0..node.shards()).map(|shard| node.inspect(shard, Shard::in_flight)).sum();
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = write!(text, "{name}:{value}\r\n");
    };
    line("# Server\r\norrery_version", &env!("CARGO_PKG_VERSION"));
    line("redis_mode", &"standalone");
    line("process_id", &std::process::id());
    line("tcp_port", &server.client_address.port());
    line("uptime_in_seconds", &server.started.elapsed().as_secs());
    line("shards", &node.shards());
    line("durability", &"none: records are in memory only");
    line("\r\n# Clients\r\nconnected_clients", &sessions);
    line("total_connections_received", &opened);
    line("rejected_connections", &server.rejected());
    line("\r\n# Stats\r\nrequests_in_flight", &in_flight);
    for (name, count) in server.outcomes.named() {
        line(name, &count);
    }
    let peers = node.ports().directory().peers();
    let dropped: u64 = peers.values().map(|peer| peer.queue.dropped()).sum();
    line("messages_dropped", &dropped);
    // Every node takes writes: what a client of Redis asks this for.
    line("\r\n# Replication\r\nrole", &"master");
    line("connected_slaves", &0);
    line("\r\n# Cluster\r\nnode", &node.id());
    line("cluster", &ring.cluster());
    line("epoch", &ring.epoch().0);
    line("ring", &if ring.is_joint() { "joint" } else { "final" });
    line("members", &ring.members().len());
    let state = ring.members().get(&node.id()).map(|member| format!("{:?}", member.state));
    line("state", &state.as_deref().unwrap_or("no member"));
    let (to_pull, to_hand_over) = rings::moving(server);
    line("slots_to_pull", &to_pull);
    line("slots_to_hand_over", &to_hand_over);
    line("replication", &ring.replication());
    line("default_read", &server.settings.default_read);
    line("default_write", &server.settings.default_write);
    let health = node.health();
    for (id, member) in ring.members().iter().filter(|(id, _)| **id != node.id()) {
        let (address, link) = (&member.address, server.links.state(*id));
        let dropped = peers.get(id).map_or(0, |peer| peer.queue.dropped());
        let seems = health.get(id).map_or("unknown", |health| health.name());
        let told = format!("address={address},link={link},seems={seems},dropped={dropped}");
        line(&format!("peer_{id}"), &told);
    }
    line("\r\n# Keyspace\r\nrecords", &records);
    line("live_records", &live);
    text.push_str("\r\n# Branches\r\n");
    for (note, count) in node.ports().notes() {
        let _ = write!(text, "{}:{count}\r\n", snake_case(&format!("{note:?}")));
    }
    text
}

fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// The answer to `COMMAND`.
pub fn commands(out: &mut Vec<u8>, dialect: Dialect, about: CommandsAbout) {
    match about {
        CommandsAbout::Count => reply::integer(out, COMMANDS.len()),
        CommandsAbout::Docs => reply::map(out, 0, dialect),
        CommandsAbout::All => {
            reply::array(out, COMMANDS.len());
            for (name, arity) in COMMANDS {
                reply::array(out, 6);
                reply::bulk(out, name.as_bytes());
                out.extend_from_slice(format!(":{arity}\r\n").as_bytes());
                reply::array(out, 0);
                (0..3).for_each(|_| reply::integer(out, 0));
            }
        }
    }
}

/// The answer to `CONFIG GET`: what benchmarks and clients ask for, as it is here.
pub fn config(out: &mut Vec<u8>, dialect: Dialect, pattern: &[u8]) {
    let known = [("save", ""), ("appendonly", "no"), ("databases", "1")];
    let wanted = |name: &str| pattern == b"*" || pattern.eq_ignore_ascii_case(name.as_bytes());
    let found: Vec<_> = known.iter().filter(|(name, _)| wanted(name)).collect();
    reply::map(out, found.len(), dialect);
    for (name, value) in found {
        reply::bulk(out, name.as_bytes());
        reply::bulk(out, value.as_bytes());
    }
}

/// The answer to `HELLO`.
pub fn hello(out: &mut Vec<u8>, dialect: Dialect, session: u32) {
    reply::map(out, 7, dialect);
    let version = env!("CARGO_PKG_VERSION");
    let texts =
        [("server", "orrery"), ("version", version), ("mode", "standalone"), ("role", "master")];
    for (name, value) in texts {
        reply::bulk(out, name.as_bytes());
        reply::bulk(out, value.as_bytes());
    }
    reply::bulk(out, b"proto");
    reply::integer(out, if dialect == Dialect::Resp3 { 3 } else { 2 });
    reply::bulk(out, b"id");
    reply::integer(out, session as usize);
    reply::bulk(out, b"modules");
    reply::array(out, 0);
}
