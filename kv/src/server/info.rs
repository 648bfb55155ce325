//! INFO: sections, each a heading and lines of `name:value`.

use std::{
    fmt::{Display, Write as _},
    sync::Weak,
    time::Instant,
};

use super::{
    clocks, process,
    rate::LOOK_EVERY,
    state::{Door, Server},
};
use crate::{core::shard::Shard, resp::table::REDIS_LEVEL};

/// A section: its name, and what writes it.
type Section = (&'static str, Tell);

/// What a section is about.
enum Tell {
    /// The process, which has clients, but perhaps no node.
    Process(fn(&Door, &mut Lines)),
    /// The node: nothing is said of it before there is one.
    Node(fn(&Server, &mut Lines)),
}

/// All sections in their order: those of Redis first, by the names that its tools ask for, then ours.
const SECTIONS: [Section; 12] = [
    ("Server", Tell::Process(of_server)),
    ("Clients", Tell::Process(of_clients)),
    ("Memory", Tell::Process(of_memory)),
    ("Persistence", Tell::Process(of_persistence)),
    ("Stats", Tell::Process(of_stats)),
    ("Replication", Tell::Process(of_replication)),
    ("CPU", Tell::Process(of_cpu)),
    ("Cluster", Tell::Process(of_cluster)),
    ("Keyspace", Tell::Node(of_keyspace)),
    ("Node", Tell::Node(of_node)),
    ("Peers", Tell::Node(of_peers)),
    ("Branches", Tell::Node(of_branches)),
];

/// The answer to `INFO` about these sections; about all, where none is named.
pub fn text(door: &Door, wanted: &[&[u8]]) -> String {
    let is_named = |name: &str| wanted.iter().any(|w| w.eq_ignore_ascii_case(name.as_bytes()));
    let are_all = wanted.is_empty() || ["all", "default", "everything"].into_iter().any(is_named);
    let node = door.node();
    let mut lines = Lines(String::new());
    for (name, tell) in SECTIONS.iter().filter(|(name, _)| are_all || is_named(name)) {
        if matches!(tell, Tell::Node(_)) && node.is_none() {
            continue;
        }
        if !lines.0.is_empty() {
            lines.0.push_str("\r\n");
        }
        let _ = write!(lines.0, "# {name}\r\n");
        match (tell, &node) {
            (Tell::Process(tell), _) => tell(door, &mut lines),
            (Tell::Node(tell), Some(server)) => tell(server, &mut lines),
            (Tell::Node(_), None) => {}
        }
    }
    lines.0
}

/// The text so far.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.0, "{name}:{value}\r\n");
    }

    /// A number of bytes, and the same for people.
    fn add_bytes(&mut self, name: &str, bytes: u64) {
        self.add(name, bytes);
        self.add(&format!("{name}_human"), human(bytes));
    }
}

fn of_server(door: &Door, lines: &mut Lines) {
    let uptime = door.uptime().as_secs();
    lines.add("redis_version", REDIS_LEVEL);
    lines.add("orrery_version", env!("CARGO_PKG_VERSION"));
    lines.add("redis_mode", "standalone");
    lines.add("os", std::env::consts::OS);
    lines.add("arch_bits", usize::BITS);
    lines.add("process_id", std::process::id());
    lines.add("tcp_port", door.client_address.port());
    lines.add("uptime_in_seconds", uptime);
    lines.add("uptime_in_days", uptime / (24 * 60 * 60));
}

fn of_clients(door: &Door, lines: &mut Lines) {
    lines.add("connected_clients", door.counts().0);
    lines.add("maxclients", door.settings.places.clients);
    lines.add("blocked_clients", 0);
    let (held, bound) = door.memory.held();
    lines.add("client_memory", held);
    lines.add("max_client_memory", bound);
}

fn of_memory(_: &Door, lines: &mut Lines) {
    let (resident, peak) = process::memory();
    // What the system gave to the process: the allocator does not tell what of it is in use.
    lines.add_bytes("used_memory", resident);
    lines.add_bytes("used_memory_rss", resident);
    lines.add_bytes("used_memory_peak", peak);
    // The store has no bound.
    lines.add_bytes("maxmemory", 0);
    lines.add("maxmemory_policy", "noeviction");
}

fn of_persistence(door: &Door, lines: &mut Lines) {
    lines.add("loading", u8::from(door.serving().is_none()));
    lines.add("async_loading", 0);
    lines.add("rdb_bgsave_in_progress", 0);
    let settings = &door.settings;
    lines.add("aof_enabled", u8::from(settings.data.is_some()));
    match &settings.data {
        None => lines.add("durability", "none: records are in memory only"),
        Some(path) => {
            lines.add("durability", settings.durability);
            lines.add("data_folder", path.display());
        }
    }
}

fn of_stats(door: &Door, lines: &mut Lines) {
    let (_, opened, rejected) = door.counts();
    lines.add("total_connections_received", opened);
    lines.add("instantaneous_ops_per_sec", door.rate.per_second());
    lines.add("rejected_connections", rejected);
    lines.add("expired_keys", 0);
    lines.add("evicted_keys", 0);
    lines.add("evicted_clients", door.memory.closed());
    for (name, count) in door.outcomes.named() {
        lines.add(name, count);
    }
    lines.add("log_lines_dropped", door.settings.lost_lines.count());
}

fn of_replication(_: &Door, lines: &mut Lines) {
    // Every node takes writes: what a client of Redis asks this for.
    lines.add("role", "master");
    lines.add("connected_slaves", 0);
}

fn of_cpu(_: &Door, lines: &mut Lines) {
    let (user, system) = process::cpu();
    lines.add("used_cpu_sys", format_args!("{:.6}", system.as_secs_f64()));
    lines.add("used_cpu_user", format_args!("{:.6}", user.as_secs_f64()));
}

fn of_cluster(_: &Door, lines: &mut Lines) {
    // Clients need not know who owns a key: every node takes every key.
    lines.add("cluster_enabled", 0);
}

fn of_keyspace(server: &Server, lines: &mut Lines) {
    let (_, live) = server.node.counts();
    // As in Redis, there is no line for a database without keys.
    if live > 0 {
        lines.add("db0", format_args!("keys={live},expires=0,avg_ttl=0"));
    }
}

fn of_node(server: &Server, lines: &mut Lines) {
    let node = &server.node;
    let ring = node.ring();
    let (records, live) = server.node.counts();
    lines.add("node", node.id());
    lines.add("cluster", ring.cluster());
    lines.add("epoch", ring.epoch().0);
    lines.add("ring", if ring.is_joint() { "joint" } else { "final" });
    lines.add("members", ring.members().len());
    let state = ring.members().get(&node.id()).map(|member| format!("{:?}", member.state));
    lines.add("state", state.as_deref().unwrap_or("no member"));
    let (to_pull, to_hand_over) = node.moving();
    lines.add("slots_to_pull", to_pull);
    lines.add("slots_to_hand_over", to_hand_over);
    let behind = node.behind();
    let peers: Vec<String> = behind.peers_to_compare.iter().map(ToString::to_string).collect();
    lines.add("peers_to_compare", peers.join(" "));
    lines.add("records_behind", behind.records_behind);
    lines.add("joins_waiting", server.waiting.count());
    // After a pause it waits to be told that its ring is the newest.
    lines.add("coordinates", u8::from(node.is_confirmed()));
    lines.add("clock_offset_us", clocks::measured(node).shown(node.id()));
    lines.add("replication", ring.replication());
    lines.add("default_read", server.settings.default_read);
    lines.add("default_write", server.settings.default_write);
    lines.add("shards", node.shards());
    lines.add("records", records);
    lines.add("live_records", live);
    let in_flight: usize =
        (0..node.shards()).map(|shard| node.inspect(shard, Shard::in_flight)).sum();
    lines.add("requests_in_flight", in_flight);
    let pauses = node.ports().pauses();
    lines.add("pauses", node.era().pauses());
    lines.add("last_pause_ms", pauses.last.0 / 1_000);
    lines.add("connections_closed_after_pauses", pauses.connections_closed);
    let peers = node.ports().directory().peers();
    let dropped: u64 = peers.values().map(|peer| peer.queue.dropped()).sum();
    lines.add("messages_dropped", dropped);
}

fn of_peers(server: &Server, lines: &mut Lines) {
    let node = &server.node;
    let ring = node.ring();
    let (peers, health) = (node.ports().directory().peers(), node.health());
    let clocks = clocks::measured(node);
    for (id, member) in ring.members().iter().filter(|(id, _)| **id != node.id()) {
        let (address, link) = (&member.address, server.links.state(*id));
        let dropped = peers.get(id).map_or(0, |peer| peer.queue.dropped());
        let seems = health.get(id).map_or("unknown", |health| health.name());
        let (client, clock) = (&member.client, clocks.shown(*id));
        let told = format_args!(
            "address={address},client={client},link={link},seems={seems},dropped={dropped},clock_offset_us={clock}"
        );
        lines.add(&format!("peer_{id}"), told);
    }
}

fn of_branches(server: &Server, lines: &mut Lines) {
    for (note, count) in server.node.ports().notes() {
        lines.add(&snake_case(&format!("{note:?}")), count);
    }
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

/// Bytes as Redis shows them to people.
fn human(bytes: u64) -> String {
    let units = [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match units.into_iter().find(|(size, _)| bytes >= *size) {
        #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
        Some((size, unit)) => format!("{:.2}{unit}", bytes as f64 / size as f64),
        None => format!("{bytes}B"),
    }
}

/// Looks at how many commands there were, as long as the door is there.
pub async fn watch_rate(door: Weak<Door>) {
    while let Some(door) = door.upgrade() {
        door.rate.look(Instant::now(), door.outcomes.commands());
        drop(door);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_redis_shows_them() {
        let shown = [0, 1_023, 1_024, 990_000, 1 << 30].map(human);
        assert_eq!(shown, ["0B", "1023B", "1.00K", "966.80K", "1.00G"]);
    }
}
