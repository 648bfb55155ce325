//! What a system says in a story in its own words.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{property::Judged, run::Verdict, scenario::Action as _, system::DoneOf};

/// A system whose runs are told as stories.
pub trait Narrated: Judged {
    /// Its words: [`Plain`] where its values tell enough by themselves.
    type Narrator: Narrator<Self>;
    /// What one change is called.
    const CHANGE: &str = "change";
    /// What is said of a node that is kept behind.
    const BEHIND: &str = "is kept behind until the faults are healed";

    /// What a node had in the end, for programs.
    fn held_json(node: u32, held: &Self::Held) -> Value {
        let _ = held;
        json!({ "node": node })
    }
}

/// Whose message it is, and how it goes.
pub struct Message<'a, M> {
    /// The sender.
    pub from: u32,
    /// The receiver.
    pub to: u32,
    /// What it says.
    pub message: &'a M,
    /// Whether it arrives.
    pub arrives: bool,
    /// Whether a script decides: then all of its steps are told of.
    pub is_scripted: bool,
}

/// The words of a system.
pub trait Narrator<S: Judged>: Sized {
    /// For the story of a run.
    fn new(verdict: &Verdict<S>) -> Self;

    /// What a reader has to know of a story about a key.
    fn legend(&self, key: &str) -> Option<String> {
        Some(format!("The key is {key:?}; > marks the operations that show the violation."))
    }

    /// Further operations that belong to those that show the violation: the writes of what they found, say.
    fn related(&self, verdict: &Verdict<S>, marked: &BTreeSet<usize>) -> BTreeSet<usize> {
        let _ = (verdict, marked);
        BTreeSet::new()
    }

    /// Whether a violation is about what nodes hold in the end, so that all up to it matters.
    fn is_about_the_end(&self, property: &str) -> bool {
        let _ = property;
        false
    }

    /// What a client asks; without the key where all is about one.
    fn action(&self, action: &S::Action, with_key: bool) -> String {
        let _ = with_key;
        format!("{action:?}")
    }

    /// What it is answered.
    fn answer(&self, done: &DoneOf<S>, answer: &S::Answer) -> String {
        let _ = done;
        format!("ok {answer:?}")
    }

    /// What a node is asked for by an operator: who says so, and what.
    fn change(&self, node: u32, change: &S::Change) -> (&'static str, String) {
        ("change", format!("n{node} is asked for {change:?}"))
    }

    /// A message is sent, so many microseconds into the run.
    fn sent(&mut self, verdict: &Verdict<S>, at: u64, from: u32, message: &S::Message) {
        let _ = (verdict, at, from, message);
    }

    /// What a message says, if that mattered.
    fn message(
        &mut self,
        verdict: &Verdict<S>,
        message: &Message<'_, S::Message>,
    ) -> Option<String> {
        let _ = verdict;
        Some(S::show_message(message.message))
    }

    /// What a node holds in the end.
    fn held(&self, key: &str, held: &S::Held) -> String {
        let _ = (key, held);
        String::new()
    }

    /// The text of a violation, in the story's words.
    fn named(&self, key: &str, text: &str) -> String {
        let _ = key;
        text.to_string()
    }
}

/// Tells what there is as it is.
pub struct Plain;

impl<S: Judged> Narrator<S> for Plain {
    fn new(_: &Verdict<S>) -> Self {
        Plain
    }
}

/// Whether an operation is about the key of a story, if it is about one.
pub(crate) fn is_about<S: Judged>(done: &DoneOf<S>, key: Option<&str>) -> bool {
    key.is_none_or(|key| done.action.key() == key)
}
