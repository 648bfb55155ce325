//! What clients did and what they were told: the evidence that properties look at.

/// An answer that came too late is counted for each action apart.
pub const TIMEOUT: &str = "timeout";

/// How an operation ended, as its client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<R> {
    /// It was answered.
    Ok(R),
    /// Nothing happened.
    Failed(&'static str),
    /// It may have happened, or may happen still.
    Unknown(&'static str),
}

impl<R> Outcome<R> {
    /// The answer.
    pub fn answer(&self) -> Option<&R> {
        match self {
            Outcome::Ok(answer) => Some(answer),
            Outcome::Failed(_) | Outcome::Unknown(_) => None,
        }
    }
}

/// An operation in a history. Moments are numbers of events: no two are the same.
#[derive(Clone, Debug)]
pub struct Done<A, R> {
    /// The client.
    pub client: u32,
    /// The node that it asked.
    pub node: u32,
    /// What was asked.
    pub action: A,
    /// When it was asked.
    pub invoked: u64,
    /// When it was asked, in microseconds of the run.
    pub invoked_us: u64,
    /// When it ended. None: it did not.
    pub returned: Option<u64>,
    /// When it ended, in microseconds of the run.
    pub returned_us: Option<u64>,
    /// How it ended: unknown until it does.
    pub outcome: Outcome<R>,
}
