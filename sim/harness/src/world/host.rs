//! The machines of a simulation: on each a node may run, with its clocks and its journal.

use std::cell::Ref;

use crate::{
    journal::Disks,
    system::{Io, System},
    world::{clock::NodeClock, own::Own, queue::Due},
};

/// A machine on which a node may run.
pub(crate) struct Host<S: System> {
    pub(crate) clock: NodeClock,
    pub(crate) io: Io<S>,
    /// Its disk, where the node brings a journal along.
    pub(crate) own: Option<Own<S::Entry>>,
    pub(crate) node: Option<S::Node>,
    /// What its process starts with. None: it is not to be started.
    pub(crate) birth: Option<S::Birth>,
    /// How often the node was started: timers and syncs of earlier starts are void.
    pub(crate) starts: u32,
    /// How many faults keep it down, and how many keep it paused.
    pub(crate) down: u32,
    pub(crate) paused: u32,
    /// What happened while it was paused.
    pub(crate) backlog: Vec<Due<S>>,
    /// When it looked at its clocks last because nothing else happened.
    pub(crate) looked: u64,
}

impl<S: System> Host<S> {
    /// A machine whose node was not started yet.
    pub(crate) fn new(clock: NodeClock, disks: Option<Disks>) -> Self {
        Self {
            clock,
            io: Io::default(),
            own: disks.as_ref().map(Own::new),
            node: None,
            birth: None,
            starts: 0,
            down: 0,
            paused: 0,
            backlog: Vec::new(),
            looked: 0,
        }
    }
}

/// All machines.
pub struct Hosts<S: System>(pub(crate) Vec<Host<S>>);

impl<S: System> Hosts<S> {
    pub(crate) fn get(&self, node: u32) -> Option<&Host<S>> {
        self.0.get((node as usize).checked_sub(1)?)
    }

    pub(crate) fn get_mut(&mut self, node: u32) -> Option<&mut Host<S>> {
        self.0.get_mut((node as usize).checked_sub(1)?)
    }

    /// The numbers of all nodes that run or ran.
    pub fn nodes(&self) -> impl Iterator<Item = u32> + use<S> {
        1..=u32::try_from(self.0.len()).expect("few machines")
    }

    /// The numbers of all nodes that run, or are to start again.
    pub fn that_go_on(&self) -> impl Iterator<Item = u32> {
        self.nodes().filter(|node| self.get(*node).is_some_and(|host| host.birth.is_some()))
    }

    /// A node, if it runs.
    pub fn node(&self, node: u32) -> Option<&S::Node> {
        self.get(node)?.node.as_ref()
    }

    /// What a node's journal has, durable or not. Nothing where there is no such machine.
    pub fn entries(&self, node: u32, from: usize) -> Option<Ref<'_, [S::Entry]>> {
        let shared = self.get(node)?.io.0.borrow();
        Some(Ref::map(shared, |shared| shared.journal.since(from)))
    }

    /// What a node's journal has for certain.
    pub fn durable_entries(&self, node: u32) -> Option<Ref<'_, [S::Entry]>> {
        let shared = self.get(node)?.io.0.borrow();
        Some(Ref::map(shared, |shared| {
            let durable = usize::try_from(shared.journal.durable()).expect("fits");
            &shared.journal.since(0)[..durable]
        }))
    }
}
