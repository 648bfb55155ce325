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
use crate::types::NodeId;

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
    released: bool,
    members: Vec<MemberView>,
    slots_to_pull: usize,
    slots_to_hand_over: usize,
    join_error: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct MemberView {
    id: String,
    address: String,
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

    /// Whether no change is under way, and this node has all that it is to have, and nothing else.
    fn is_settled(&self) -> bool {
        !self.joint && self.slots_to_pull + self.slots_to_hand_over == 0
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
                     then, at one member only, orrery evict {silent} --force goes on without what only \
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
                 orrery evict {gone} --force goes on without what only they held"
            );
        }
        hint
    }

    /// How far a change is.
    fn progress(&self) -> String {
        let View { epoch, node, slots_to_pull, slots_to_hand_over, .. } = self;
        let busy = self.members.iter().filter(|member| member.state != "Active");
        let busy: Vec<String> = busy.map(|m| format!("{} {}", m.id, m.state)).collect();
        let busy = if busy.is_empty() { "all Active".into() } else { busy.join(", ") };
        format!(
            "epoch {epoch}, {}: {busy}; {node} has {slots_to_pull} slots to pull, \
             {slots_to_hand_over} to hand over",
            self.kind()
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

    fn ask(&mut self, words: &[&str]) -> Result<Answer> {
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

    fn view(&mut self) -> Result<View> {
        Ok(serde_json::from_value(self.json()?)?)
    }

    /// Asks for a change: what the node says to it.
    fn change(&mut self, words: &[&str]) -> Result<String> {
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

/// `orrery ring`.
pub fn show(args: &NodeArgs, wait: bool) -> Result<bool> {
    let mut node = Node::new(args);
    if wait {
        follow(&mut node, |_| Vec::new(), View::is_settled).map_err(Lost::why)?;
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
    table.set_header(["member", "address", "state", "seems", "tokens", "slots", "share"]);
    for member in &view.members {
        table.add_row([
            member.id.clone(),
            member.address.clone(),
            member.state.clone(),
            member.seems.clone().unwrap_or_default(),
            member.tokens.to_string(),
            member.slots.to_string(),
            format!("{:.1} %", member.share * 100.0),
        ]);
    }
    for column in table.column_iter_mut().skip(4) {
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
    let words = ["RING", "LEAVE", &name];
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
    node.done(&format!("{name} is no member any more: epoch {epoch} has {stay}"))
}

/// So many members, in words.
fn members(count: usize) -> String {
    match count {
        1 => "1 member".into(),
        _ => format!("{count} members"),
    }
}

/// `orrery evict`.
pub fn evict(nodes: &[NodeId], force: bool, args: &ChangeArgs) -> Result<bool> {
    let mut node = Node::new(&args.node);
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let mut words = if force { vec!["RING", "FORCE", "EVICT"] } else { vec!["RING", "EVICT"] };
    words.extend(names.iter().map(String::as_str));
    let told = node.change(&words)?;
    let list = names.join(", ");
    match (force, args.no_wait) {
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
        if rest.is_empty() { rest } else { [vec!["RING", "EVICT"], rest].concat() }
    };
    let view = follow(&mut node, again, is_over).map_err(Lost::why)?;
    let (epoch, stay) = (view.epoch, members(view.members.len()));
    node.done(&format!("{list} evicted: epoch {epoch} has {stay}"))
}

/// `orrery cancel`.
pub fn cancel(args: &ChangeArgs) -> Result<bool> {
    let mut node = Node::new(&args.node);
    let epoch = node.view()?.epoch;
    node.change(&["RING", "CANCEL"])?;
    if args.no_wait {
        return node.done("the members are asked to give the change up");
    }
    // Asked once: what is under way a moment later may be another change.
    let view = follow(&mut node, |_| Vec::new(), |view| view.epoch > epoch).map_err(Lost::why)?;
    node.done(&format!("the change of epoch {epoch} is over: {}", view.progress()))
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

/// Looks at the ring until the change is over, tells how far it is, and asks again for what is to be asked for.
fn follow<'w>(
    node: &mut Node<'_>,
    again: impl Fn(&View) -> Vec<&'w str>,
    is_over: impl Fn(&View) -> bool,
) -> Result<View, Lost> {
    let (mut told, mut asked) = (String::new(), Instant::now());
    let (mut hint_at, mut hinted) = (Instant::now() + HINT_AFTER, String::new());
    loop {
        // A connection may break for its own reasons: once is not enough.
        let view = node.view().or_else(|_| node.view()).map_err(Lost::Connection)?;
        let progress = view.progress();
        if progress != told {
            tell(&progress);
            told = progress;
            hint_at = Instant::now() + HINT_AFTER;
        }
        // Once for each reason: who is down is seen late.
        if Instant::now() >= hint_at && view.hint() != hinted {
            hinted = view.hint();
            tell(&hinted);
        }
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
