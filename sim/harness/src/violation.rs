//! A property that was violated.

use std::fmt;

/// A property that was violated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name.
    pub property: &'static str,
    /// What happened.
    pub what: String,
    /// The key that it is about.
    pub key: Option<String>,
    /// The operations that show it, as places in the history.
    pub operations: Vec<usize>,
    /// Further properties that the run violated.
    pub also: Vec<&'static str>,
}

impl Violation {
    /// A violated property, and what happened.
    pub fn new(property: impl Into<&'static str>, what: impl Into<String>) -> Self {
        Self {
            property: property.into(),
            what: what.into(),
            key: None,
            operations: Vec::new(),
            also: Vec::new(),
        }
    }

    /// The same, about a key.
    pub fn about(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same, shown by operations on a key.
    pub fn shown_by(mut self, key: impl Into<String>, operations: &[usize]) -> Self {
        self.key = Some(key.into());
        self.operations = operations.to_vec();
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)?;
        if let Some(key) = &self.key {
            write!(f, " (key {key:?})")?;
        }
        match self.also.is_empty() {
            true => Ok(()),
            false => write!(f, "; also violated: {}", self.also.join(", ")),
        }
    }
}
