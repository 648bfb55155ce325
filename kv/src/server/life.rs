//! One life of a server: it waits until clients may be served, says when they are, follows its place in the
//! ring, and drains its connections at the end.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

use super::{
    identity::{Identity, identity},
    join::{self, Failed},
    ports::Standing,
    rings,
    settings::Ended,
    state::{COME_BACK, News, Server},
};
use crate::core::{
    env::Note,
    ring::MemberState,
    shard::Shard,
    types::{Epoch, NodeId},
};

/// How often a server looks whether what it waits for has come.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long who has left still says so: an operator who follows it looks more often.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long an evicted node goes on when nothing of what it holds gets any further.
const STUCK: Duration = Duration::from_secs(30);
/// How often a member is asked again, when an operator wants a node to join.
const ASKED: usize = 6;

/// How a life ended.
pub enum Over {
    /// And the process with it.
    Ended(Ended),
    /// The process joins the cluster anew.
    JoinsAnew,
    /// The process has become a member of another cluster.
    Joined(Identity),
}

/// A server, and whether it takes clients.
struct Life<'a, R> {
    server: &'a Arc<Server>,
    ready: &'a mut R,
    /// What it was last said to wait for.
    waits_for: String,
    /// There once it is no member.
    out: Option<Out>,
}

/// How far a node is that hands over what it holds. A newer ring has other owners to hand over to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    epoch: Epoch,
    /// Slots that are still to be handed over.
    slots: usize,
    /// Records that were sent: a large slot takes a while.
    records: u64,
}

/// A node that is no member any more.
struct Out {
    progress: Progress,
    /// Since when it is no further.
    since: Instant,
    /// Since when the others can do without it.
    released: Option<Instant>,
}

impl Out {
    /// Whether nothing moved for long.
    fn is_stuck(&mut self, progress: Progress, now: Instant) -> bool {
        if progress != self.progress {
            (self.progress, self.since) = (progress, now);
        }
        now.duration_since(self.since) >= STUCK
    }
}

/// Waits until clients may be served, serves them, and drains when `stop` is done or the life is over.
pub async fn attend<R: FnMut(SocketAddr, NodeId)>(
    server: &Arc<Server>,
    mut heard: watch::Receiver<News>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    ready: &mut R,
) -> Result<Over> {
    let mut standing = server.node.ports().standing();
    server.door.set_node(Some(server.clone()));
    let mut life = Life { server, ready, waits_for: String::new(), out: None };
    let over = loop {
        let News { refused, join } = heard.borrow_and_update().clone();
        let now = standing.borrow_and_update().clone();
        if refused {
            warn!("this process joins anew, as another member");
            break Over::JoinsAnew;
        }
        if let Some(over) = life.follow(&now) {
            break over;
        }
        if let Some(member) = join {
            life.drain().await;
            tokio::select! {
                biased;
                () = &mut stop => return Ok(Over::Ended(Ended::Drained)),
                joined = life.join(&member) => match joined {
                    Ok(identity) => return Ok(Over::Joined(identity)),
                    Err(why) => life.stay(&member, &why),
                },
            }
        }
        life.take_clients(&now);
        let waits = !server.serves() || !now.is_member;
        tokio::select! {
            biased;
            () = &mut stop => break Over::Ended(Ended::Drained),
            heard = heard.changed() => ensure!(heard.is_ok(), "the server is gone"),
            changed = standing.changed() => ensure!(changed.is_ok(), "the node is gone"),
            () = sleep(LOOK_EVERY), if waits => {}
        }
    };
    life.drain().await;
    Ok(over)
}

impl<R: FnMut(SocketAddr, NodeId)> Life<'_, R> {
    /// Looks at this node's place in the ring: whether the life is over.
    fn follow(&mut self, standing: &Standing) -> Option<Over> {
        let me = self.server.node.id();
        if standing.is_member {
            return None;
        }
        let (progress, now) = (self.progress(standing), Instant::now());
        let out = self.out.get_or_insert_with(|| {
            info!("{me} is no member of ring {} any more", standing.ring.epoch().0);
            Out { progress, since: now, released: None }
        });
        let is_stuck = out.is_stuck(progress, now);
        let is_released = self.server.node.is_released();
        out.released = is_released.then(|| out.released.unwrap_or(now));
        let released = out.released;
        let last = match standing.ring.gave_up(self.server.links.instance()) {
            true => MemberState::Joining,
            false => standing.last,
        };
        match last {
            // At once: nothing rests on it alone. Whatever it acknowledged, an owner of the old set had
            // acknowledged too, at every level (ONE waits, on a joint ring, for one owner in each set);
            // and who was an owner then keeps it, or hands it over.
            MemberState::Joining => {
                error!("the members gave up the join of {me}; start it again to try anew");
                Some(Over::Ended(Ended::Cancelled))
            }
            MemberState::Leaving if released.is_some_and(|since| now - since >= FAREWELL) => {
                info!("{me} has left: the others have all that it held");
                Some(Over::Ended(Ended::Left))
            }
            MemberState::Leaving => None,
            MemberState::Active | MemberState::Evicted => {
                if !is_released && !is_stuck {
                    return None;
                }
                let rest = match progress.slots {
                    0 => "the others have all that it held".to_string(),
                    slots => format!(
                        "{slots} slots were not handed over to all of their owners, for nothing \
                         moved for {} s",
                        STUCK.as_secs()
                    ),
                };
                warn!("{me} was evicted; {rest}; this process joins anew, as another member");
                Some(Over::JoinsAnew)
            }
        }
    }

    fn progress(&self, standing: &Standing) -> Progress {
        let mut notes = self.server.node.ports().notes();
        let records = notes.find(|(note, _)| *note == Note::RecordHandedOver);
        Progress {
            epoch: standing.ring.epoch(),
            slots: self.server.node.moving().1,
            records: records.map_or(0, |(_, count)| count),
        }
    }

    /// Begins to serve clients once that makes sense. A process that a majority accepted is not one that
    /// its peers would refuse; and one that has not compared its clock would have to refuse writes.
    fn take_clients(&mut self, standing: &Standing) {
        if self.server.serves() || !standing.is_member {
            return;
        }
        let server = self.server;
        if server.may_have_grown() {
            let (me, wait) = (server.node.id(), COME_BACK);
            return self.wait_for(format!(
                "{me} is alone in its first ring: for {wait:?} it waits for members that know it, in case \
                 that it started again and the cluster has grown"
            ));
        }
        let members = standing.ring.members().len();
        let majority = members / 2 + 1;
        let there = server.links.up(&standing.ring) + 1;
        if there < majority {
            return self.wait_for(format!(
                "waiting for peers: {there} of {members} members are there, {majority} are needed"
            ));
        }
        let mut shards = 0..server.node.shards();
        if !shards.all(|shard| server.node.inspect(shard, Shard::has_measured_clocks)) {
            let why = "waiting until the clock of this node is compared with its peers'";
            return self.wait_for(why.into());
        }
        server.set_serves(true);
        let address = server.door.client_address;
        info!("{} serves clients at {address}", server.node.id());
        (self.ready)(address, server.node.id());
    }

    /// Says once what it waits for.
    fn wait_for(&mut self, what: String) {
        if what != self.waits_for {
            info!("{what}");
            self.waits_for = what;
        }
    }

    /// Takes no more clients, and lets requests under way finish, as long as one may take at most.
    async fn drain(&mut self) {
        let server = self.server;
        // Nobody new is served while those who are there are waited for.
        server.set_serves(false);
        let sessions = server.node.ports().sessions();
        info!("ending; open connections: {}", sessions.counts().0);
        sessions.drain();
        let request = server.settings.node.request_timeout.duration();
        let gone = async {
            while sessions.counts().0 > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(2 * request + Duration::from_millis(500), gone).await.is_err() {
            warn!("connections that are cut: {}", sessions.counts().0);
        }
    }

    /// Asks a member of another cluster for a place there, while there is nothing that could be lost.
    async fn join(&self, member: &str) -> Result<Identity> {
        rings::has_nothing_to_lose(self.server)?;
        let join = self.server.settings.join(self.server.client.clone());
        for _ in 0..ASKED {
            match join::ask(&join, member).await {
                Ok(Some(ring)) => {
                    // Again: what had begun before this was to go may have come to its end meanwhile.
                    rings::has_nothing_to_lose(self.server).map_err(|why| {
                        anyhow!("{why}; its place there has to be given up: orrery cancel")
                    })?;
                    return identity(ring, join.instance);
                }
                Ok(None) => {}
                Err(Failed::Refused(why) | Failed::Other(why)) => return Err(why),
            }
        }
        Err(anyhow!("its members did not decide in time"))
    }

    /// The join came to nothing: all goes on as before.
    fn stay(&mut self, member: &str, why: &anyhow::Error) {
        let why = format!("cannot join at {member}: {why:#}");
        error!("{why}");
        *self.server.join_error.lock() = Some(why);
        self.server.news.send_modify(|news| news.join = None);
        self.server.node.ports().sessions().resume();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evicted_node_goes_on_as_long_as_something_moves() {
        let start = Instant::now();
        let first = Progress { epoch: Epoch(3), slots: 9, records: 0 };
        let mut out = Out { progress: first, since: start, released: None };
        let moves = [
            Progress { slots: 8, ..first },
            Progress { slots: 8, records: 1, ..first },
            Progress { slots: 8, records: 1, epoch: Epoch(4) },
            Progress { slots: 9, records: 1, epoch: Epoch(4) },
        ];
        let mut now = start;
        for progress in moves {
            now += STUCK - Duration::from_millis(1);
            assert!(!out.is_stuck(progress, now));
        }
        now += STUCK - Duration::from_millis(1);
        assert!(!out.is_stuck(moves[3], now));
        now += Duration::from_millis(1);
        assert!(out.is_stuck(moves[3], now), "nothing moved since");
    }
}
