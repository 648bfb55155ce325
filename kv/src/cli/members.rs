//! `orrery ring`, `leave`, `evict`, `cancel` and `join`: an operator looks at the ring, and changes it.

use std::{
    collections::BTreeSet,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail, ensure};
use comfy_table::{CellAlignment, Table, presets::UTF8_BORDERS_ONLY};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ChangeArgs, NodeArgs,
    client::{Answer, Connection, reason, say, tell},
};
use crate::{core::types::NodeId, server::NO_PLACE_YET};

/// Between two looks at the ring, and between two requests for a change: a node that heard one may have
/// died.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A change that gets no further for so long may wait for somebody who is gone.
const HINT_AFTER: Duration = Duration::from_secs(10);
/// How long a node that joins another cluster may not answer.
const ABSENCE: Duration = Duration::from_secs(60);

/// What a node says of its ring.
#[derive(Clone, Debug, Deserialize)]
struct View {
    cluster: String,
    epoch: u64,
    joint: bool,
    replication: usize,
    node: String,
    serves: bool,
    released: bool,
    members: Vec<MemberView>,
    slots_to_pull: usize,
    slots_to_hand_over: usize,
    peers_to_compare: Vec<String>,
    records_behind: u64,
    join_error: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct MemberView {
    id: String,
    address: String,
    client: Option<String>,
    state: String,
    seems: Option<String>,
    tokens: usize,
    slots: usize,
    share: f64,
}

impl View {
    fn has(&self, node: NodeId) -> bool {
        self.members.iter().any(|member| member.id == node.to_string())
    }

    /// Whether no change is under way, and this node is a member that serves, and has all that it is to have, and
    /// nothing else. One that does not serve may know an old ring, and be about to join anew.
    fn is_settled(&self) -> bool {
        let is_active = |member: &MemberView| member.id == self.node && member.state == "Active";
        let is_there = self.members.iter().any(is_active);
        let moves_nothing = self.slots_to_pull + self.slots_to_hand_over == 0;
        is_there && self.serves && !self.joint && moves_nothing && !self.is_behind()
    }

    /// Whether the node may lack records that its peers have.
    fn is_behind(&self) -> bool {
        self.records_behind > 0 || !self.peers_to_compare.is_empty()
    }

    fn kind(&self) -> &'static str {
        if self.joint { "joint" } else { "final" }
    }

    /// What may keep a change from going on.
    fn hint(&self) -> String {
        let ids = |is: &dyn Fn(&&MemberView) -> bool| {
            let ids = self.members.iter().filter(is).map(|member| member.id.as_str());
            ids.collect::<Vec<_>>().join(" ")
        };
        let is_down = |member: &&MemberView| member.seems.as_deref() == Some("down");
        let down = ids(&|member| is_down(member) && member.state != "Evicted");
        let gone = ids(&|member| is_down(member) || member.state == "Evicted");
        let decides = |member: &&MemberView| member.state != "Joining";
        let deciding = self.members.iter().filter(decides).count();
        let alive = self.members.iter().filter(|m| decides(m) && !is_down(m)).count();
        let mut hint = "no progress for a while".to_string();
        if alive <= deciding / 2 {
            let silent = ids(&is_down);
            return hint
                + &format!(
                    "; {alive} of {deciding} members seem alive, and a majority has to decide. {silent}: \
                     still running? then see why they are not reached. Gone for good, or started again? \
                     then, at one member only, orrery evict {silent} --accept-loss goes on without what only \
                     they held"
                );
        }
        if self.joint {
            hint += "; orrery cancel gives up the change that is under way";
        }
        if !down.is_empty() {
            hint += &format!("; {down}: gone for good? then orrery evict {down}");
        }
        if !gone.is_empty() {
            hint += &format!(
                "; if most owners of some keys are gone for good, nobody can make up for them: \
                 orrery evict {gone} --accept-loss goes on without what only they held"
            );
        }
        hint
    }

    /// How far the node is behind, where it is.
    fn behind(&self) -> String {
        let peers = self.peers_to_compare.join(" ");
        match (self.peers_to_compare.is_empty(), self.records_behind) {
            (true, 0) => String::new(),
            (_, 0) => format!(", and has to compare with {peers}"),
            (_, records) => {
                format!(", lacks {records} records at least, and has to compare with {peers}")
            }
        }
    }

    /// How far a change is.
    fn progress(&self) -> String {
        let View { epoch, node, slots_to_pull, slots_to_hand_over, .. } = self;
        let busy = self.members.iter().filter(|member| member.state != "Active");
        let mut busy: Vec<String> = busy.map(|m| format!("{} {}", m.id, m.state)).collect();
        if !self.members.iter().any(|member| member.id == *node) {
            busy.push(format!("{node} is no member"));
        }
        if !self.serves {
            busy.push(format!("{node} does not serve yet"));
        }
        let busy = if busy.is_empty() { "all Active".into() } else { busy.join(", ") };
        format!(
            "epoch {epoch}, {}: {busy}; {node} has {slots_to_pull} slots to pull, \
             {slots_to_hand_over} to hand over{}",
            self.kind(),
            self.behind()
        )
    }
}

/// A node that an operator talks to.
struct Node<'a> {
    args: &'a NodeArgs,
    connection: Option<Connection>,
}

impl<'a> Node<'a> {
    fn new(args: &'a NodeArgs) -> Self {
        Self { args, connection: None }
    }

    fn ask(&mut self, words: &[impl AsRef<[u8]>]) -> Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::to(&self.args.connect)?,
        };
        let answer = connection.ask(words)?;
        self.connection = Some(connection);
        Ok(answer)
    }

    fn json(&mut self) -> Result<Value> {
        match self.ask(&["RING"])? {
            Answer::Bytes(text) => Ok(serde_json::from_str(&text)?),
            other => Err(anyhow!(reason(other))),
        }
    }

    /// A look at a node that may not be there yet. An error when waiting is of no use.
    fn look(&mut self) -> Result<Look> {
        Ok(match self.ask(&["RING"]) {
            Ok(Answer::Bytes(text)) => Look::View(serde_json::from_str(&text)?),
            Ok(Answer::Error(why)) if is_for_now(&why) => {
                self.connection = None;
                Look::NotYet(why)
            }
            Ok(other) => bail!(reason(other)),
            Err(why) => Look::NotYet(format!("{why:#}")),
        })
    }

    fn view(&mut self) -> Result<View> {
        Ok(serde_json::from_value(self.json()?)?)
    }

    /// Asks for a change: what the node says to it.
    fn change(&mut self, words: &[impl AsRef<[u8]>]) -> Result<String> {
        match self.ask(words)? {
            Answer::Text(text) => Ok(text),
            other => Err(anyhow!(reason(other))),
        }
    }

    /// The end of a command.
    fn done(&mut self, text: &str) -> Result<bool> {
        match self.args.json {
            true => say(&json!({ "done": text }))?,
            false => say(&text)?,
        }
        Ok(true)
    }
}

/// What a node that may not be there yet is like.
enum Look {
    View(View),
    /// It is not there, or does not serve: why.
    NotYet(String),
}

/// Whether a refusal is for a node that is not ready, or has no room, and not for what was asked.
fn is_for_now(why: &str) -> bool {
    let reasons = ["LOADING ", "max number of clients", NO_PLACE_YET];
    reasons.iter().any(|reason| why.contains(reason))
}

/// `orrery ring`.
pub fn show(args: &NodeArgs, wait: Option<Duration>) -> Result<bool> {
    let mut node = Node::new(args);
    if let Some(timeout) = wait {
        wait_until_settled(&mut node, timeout)?;
    }
    if args.json {
        say(&format_args!("{:#}", node.json()?))?;
        return Ok(true);
    }
    let view = node.view()?;
    say(&format_args!(
        "cluster {}, epoch {} ({}), R = {}, as {} knows it",
        view.cluster,
        view.epoch,
        view.kind(),
        view.replication,
        view.node
    ))?;
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(["member", "clients", "peers", "state", "seems", "tokens", "slots", "share"]);
    for member in &view.members {
        table.add_row([
            member.id.clone(),
            member.client.clone().unwrap_or_default(),
            member.address.clone(),
            member.state.clone(),
            member.seems.clone().unwrap_or_default(),
            member.tokens.to_string(),
            member.slots.to_string(),
            format!("{:.1} %", member.share * 100.0),
        ]);
    }
    for column in table.column_iter_mut().skip(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    say(&table)?;
    if !view.is_settled() {
        say(&view.progress())?;
    }
    Ok(true)
}

/// `orrery leave`.
pub fn leave(leaver: Option<NodeId>, args: &ChangeArgs) -> Result<bool> {
    let mut node = Node::new(&args.node);
    let before = node.view()?;
    let asked: NodeId = before.node.parse()?;
    let leaver = leaver.unwrap_or(asked);
    let name = leaver.to_string();
    let words = ["RING", "LEAVE", &name].map(String::from);
    node.change(&words)?;
    // Once it is no member, it has nothing to ask for any more.
    let again = |view: &View| if view.has(leaver) { words.to_vec() } else { Vec::new() };
    let goes = |m: &MemberView| m.id == name && (m.state == "Leaving" || m.state == "Evicted");
    if before.joint && !before.members.iter().any(goes) {
        tell(&format_args!("another change is under way: {name} leaves after it"));
    }
    if args.no_wait {
        return node.done(&format!("{name} is asked to leave"));
    }
    // Who leaves ends soon after it has said that the others can do without it. If it was not heard to say so,
    // it may have ended for another reason.
    let is_itself = leaver == asked;
    let is_over = |view: &View| {
        !view.has(leaver) && (!is_itself || view.released || view.node != before.node)
    };
    let view = follow(&mut node, again, is_over).map_err(|lost| match lost {
        Lost::Connection(why) if is_itself => why.context(format!(
            "{name} went away, and it is not known whether the others have all that it held: see with orrery \
             ring at another member whether it is still there"
        )),
        lost => lost.why(),
    })?;
    let (epoch, stay) = (view.epoch, members(view.members.len()));
    // The node connected to is about to end.
    let other = view.members.iter().find_map(|member| member.client.as_ref());
    let next = match other.filter(|_| is_itself) {
        Some(other) => format!("; from now on ask another one: --connect {other}"),
        None => String::new(),
    };
    node.done(&format!("{name} is no member any more: epoch {epoch} has {stay}{next}"))
}

/// So many members, in words.
fn members(count: usize) -> String {
    match count {
        1 => "1 member".into(),
        _ => format!("{count} members"),
    }
}

/// `orrery evict`.
pub fn evict(nodes: &[NodeId], force: bool, accept_loss: bool, args: &ChangeArgs) -> Result<bool> {
    let mut node = Node::new(&args.node);
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let words = |names: Vec<&'_ str>| {
        let mut words = [vec!["RING", "EVICT"], names].concat();
        words.extend(force.then_some("FORCE"));
        words.extend(accept_loss.then_some("ACCEPT-LOSS"));
        words.into_iter().map(String::from).collect::<Vec<String>>()
    };
    let told = node.change(&words(names.iter().map(String::as_str).collect()))?;
    let list = names.join(", ");
    match (accept_loss, args.no_wait) {
        (true, _) => return node.done(&told),
        (false, true) => return node.done(&format!("the members are asked to evict {list}")),
        (false, false) => {}
    }
    let gone: BTreeSet<NodeId> = nodes.iter().copied().collect();
    let is_over = |view: &View| !gone.iter().any(|node| view.has(*node));
    // Those who are out already are no members to ask for.
    let again = |view: &View| {
        let rest = nodes.iter().zip(&names).filter(|(node, _)| view.has(**node));
        let rest: Vec<&str> = rest.map(|(_, name)| name.as_str()).collect();
        if rest.is_empty() { Vec::new() } else { words(rest) }
    };
    let view = follow(&mut node, again, is_over).map_err(Lost::why)?;
    let (epoch, stay) = (view.epoch, members(view.members.len()));
    node.done(&format!("{list} evicted: epoch {epoch} has {stay}"))
}

/// `orrery cancel`.
pub fn cancel(args: &ChangeArgs) -> Result<bool> {
    let mut node = Node::new(&args.node);
    let View { epoch, joint, .. } = node.view()?;
    let told = node.change(&["RING", "CANCEL"])?;
    let told = told.strip_prefix("OK, ").unwrap_or(&told).to_string();
    // Joins that wait are refused at once.
    if args.no_wait || !joint {
        return node.done(&told);
    }
    // Asked once: what is under way a moment later may be another change.
    let view = follow(&mut node, |_| Vec::new(), |view| view.epoch > epoch).map_err(Lost::why)?;
    node.done(&format!("{told}; {}", view.progress()))
}

/// `orrery join`.
pub fn join(member: &str, args: &ChangeArgs) -> Result<bool> {
    let mut node = Node::new(&args.node);
    let before = node.view()?;
    node.change(&["RING", "JOIN", member])?;
    if args.no_wait {
        return node.done("the node is asked to join");
    }
    let mut absent_since = Instant::now();
    loop {
        sleep(LOOK_EVERY);
        match node.view() {
            Ok(view) if view.cluster != before.cluster => {
                return node.done(&format!("the node is {} now: {}", view.node, view.progress()));
            }
            Ok(View { join_error: Some(why), .. }) => bail!(why),
            Ok(_) => absent_since = Instant::now(),
            // It lets its clients go before it joins.
            Err(why) => ensure!(absent_since.elapsed() < ABSENCE, "{why:#}"),
        }
    }
}

/// Why the end of a change was not seen.
enum Lost {
    /// The node does not answer any more.
    Connection(anyhow::Error),
    /// The change is refused now.
    Change(anyhow::Error),
}

impl Lost {
    fn why(self) -> anyhow::Error {
        match self {
            Lost::Connection(why) => {
                why.context("the node went away; orrery ring at another member shows how it went")
            }
            Lost::Change(why) => why,
        }
    }
}

/// Tells how far a change is, each time that it is further, and what may keep it from going on.
struct Teller {
    told: String,
    hint_at: Instant,
    hinted: String,
}

impl Teller {
    fn new() -> Self {
        let (told, hinted) = (String::new(), String::new());
        Self { told, hint_at: Instant::now() + HINT_AFTER, hinted }
    }

    /// Once for each news.
    fn tell(&mut self, news: String) {
        if news != self.told {
            tell(&news);
            self.told = news;
            self.hint_at = Instant::now() + HINT_AFTER;
        }
    }

    fn tell_view(&mut self, view: &View) {
        self.tell(view.progress());
        // Once for each reason: who is down is seen late.
        if Instant::now() >= self.hint_at && view.hint() != self.hinted {
            self.hinted = view.hint();
            tell(&self.hinted);
        }
    }
}

/// Waits until a node answers, and its ring and what it holds are settled. A node that was just started does
/// not listen yet, or not serve yet, and may go away once more: none of that ends the waiting.
fn wait_until_settled(node: &mut Node<'_>, timeout: Duration) -> Result<()> {
    let (until, mut teller) = (Instant::now() + timeout, Teller::new());
    loop {
        match node.look()? {
            Look::View(view) if view.is_settled() => {
                teller.tell(format!("{} is settled", view.node));
                return Ok(());
            }
            Look::View(view) => teller.tell_view(&view),
            Look::NotYet(why) => teller.tell(format!("not yet: {why}")),
        }
        ensure!(
            Instant::now() < until,
            "{} is not settled after {} s (--timeout); last: {}",
            node.args.connect,
            timeout.as_secs(),
            teller.told
        );
        sleep(LOOK_EVERY);
    }
}

/// Looks at the ring until the change is over, tells how far it is, and asks again for what is to be asked for.
fn follow(
    node: &mut Node<'_>,
    again: impl Fn(&View) -> Vec<String>,
    is_over: impl Fn(&View) -> bool,
) -> Result<View, Lost> {
    let (mut teller, mut asked) = (Teller::new(), Instant::now());
    loop {
        // A connection may break for its own reasons: once is not enough.
        let view = node.view().or_else(|_| node.view()).map_err(Lost::Connection)?;
        teller.tell_view(&view);
        if is_over(&view) {
            return Ok(view);
        }
        if asked.elapsed() >= ASK_EVERY {
            asked = Instant::now();
            let words = again(&view);
            // What is refused may have been done meanwhile: then it is not asked for any more.
            if !words.is_empty()
                && let Answer::Error(why) = node.ask(&words).map_err(Lost::Connection)?
                && again(&node.view().map_err(Lost::Connection)?) == words
            {
                return Err(Lost::Change(anyhow!(why)));
            }
        }
        sleep(LOOK_EVERY);
    }
}
