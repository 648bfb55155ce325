//! Stateright's search for a linearization, of two registers.

use kv::core::{
    record::{Record, Version},
    types::{NodeId, Value},
};
use sim::{
    scenario::Action,
    store::{Answer, Done, Outcome},
};
use stateright::semantics::{
    ConsistencyTester, LinearizabilityTester, SequentialSpec,
    register::{Register, RegisterOp, RegisterRet},
};

/// A register whose writes answer with a version, larger than all before.
#[derive(Clone, Debug, Default)]
struct Versioned {
    value: Option<String>,
    /// The version, or what it is larger than where nobody has read it.
    version: Held,
}

#[derive(Clone, Copy, Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Known(Version),
    /// Of an unknown write through this node.
    Above(Option<Version>, NodeId),
}

impl Versioned {
    /// No version that is to come may be at this one or below.
    fn floor(&self) -> Option<Version> {
        match self.version {
            Held::Nothing => None,
            Held::Known(version) => Some(version),
            Held::Above(version, _) => version,
        }
    }

    fn read(&mut self, found: Option<&Record>) -> bool {
        let Some(record) = found else { return matches!(self.version, Held::Nothing) };
        let value = record.value.as_ref().map(|value| value.as_str());
        let fits = match self.version {
            Held::Nothing => false,
            Held::Known(version) => version == record.version,
            Held::Above(floor, node) => floor < Some(record.version) && node == record.version.node,
        };
        self.version = Held::Known(record.version);
        fits && value == self.value.as_deref()
    }
}

impl SequentialSpec for Versioned {
    type Op = (Action, NodeId);
    type Ret = Outcome;

    /// What is in flight at the end: a write under a version that nobody knows.
    fn invoke(&mut self, (action, node): &Self::Op) -> Outcome {
        self.version = Held::Above(self.floor(), *node);
        self.value = match action {
            Action::Put(_, value, _) => Some(value.clone()),
            Action::Delete(..) | Action::Get(..) => None,
        };
        Outcome::Unknown("in flight")
    }

    fn is_valid_step(&mut self, (action, node): &Self::Op, told: &Outcome) -> bool {
        match told {
            Outcome::Ok(Answer::Found(found)) => self.read(found.as_ref()),
            Outcome::Ok(Answer::Written(version)) => {
                let fits = self.floor() < Some(*version);
                self.invoke(&(action.clone(), *node));
                self.version = Held::Known(*version);
                fits
            }
            Outcome::Failed(_) | Outcome::Unknown(_) => false,
        }
    }
}

/// The beginnings and ends of operations that may have happened, in order; what is unknown has no end,
/// and unknown reads are left out.
fn moments(history: &[Done]) -> Vec<(usize, bool)> {
    let mut moments = Vec::new();
    for (place, done) in history.iter().enumerate() {
        let is_ok =
            matches!(done.outcome, Outcome::Ok(Answer::Written(_)) | Outcome::Ok(Answer::Found(_)));
        let is_unknown = matches!(done.outcome, Outcome::Unknown(_)) && done.action.is_write();
        if is_ok || is_unknown {
            moments.push((done.invoked, place, true));
        }
        if let (true, Some(returned)) = (is_ok, done.returned) {
            moments.push((returned, place, false));
        }
    }
    moments.sort_unstable();
    moments.into_iter().map(|(_, place, begins)| (place, begins)).collect()
}

pub fn versions_hold(history: &[Done]) -> bool {
    let mut tester = LinearizabilityTester::new(Versioned::default());
    for (place, begins) in moments(history) {
        let done = &history[place];
        let told = match begins {
            true => tester.on_invoke(place, (done.action.clone(), NodeId(done.node))),
            false => tester.on_return(place, done.outcome.clone()),
        };
        told.expect("each operation is a thread of its own");
    }
    tester.is_consistent()
}

/// The same of stateright's own register, which knows values only, and no deletes.
pub fn values_hold(history: &[Done]) -> bool {
    let mut tester = LinearizabilityTester::new(Register(None));
    for (place, begins) in moments(history) {
        let done = &history[place];
        let told = match (begins, &done.action, &done.outcome) {
            (true, Action::Put(_, value, _), _) => {
                tester.on_invoke(place, RegisterOp::Write(Some(Value::trusted(value))))
            }
            (true, ..) => tester.on_invoke(place, RegisterOp::Read),
            (false, _, Outcome::Ok(Answer::Found(found))) => {
                let value = found.as_ref().and_then(|record| record.value.clone());
                tester.on_return(place, RegisterRet::ReadOk(value))
            }
            (false, ..) => tester.on_return(place, RegisterRet::WriteOk),
        };
        told.expect("each operation is a thread of its own");
    }
    tester.is_consistent()
}
