//! The names of the properties.

use strum::{IntoStaticStr, VariantArray};

/// The properties, in the order in which they are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr)]
pub enum Property {
    /// No invention.
    P0,
    /// Convergence.
    P1,
    /// Quorum reads see quorum writes.
    P3,
    /// Quorum reads are monotonic.
    P4,
    /// Unknown is honest.
    P5,
    /// The later ok write wins.
    P6,
    /// SESSION.
    P7,
    /// ALL and ONE see each other.
    P8,
    /// A version names one write.
    P9,
    /// Durability.
    P10,
    /// LINEARIZABLE.
    P13,
    /// Clocks.
    P14,
    /// Late is too late.
    P16,
}
