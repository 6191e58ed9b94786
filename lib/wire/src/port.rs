//! [`Port`].

use core::fmt;

/// A port of TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u16);

impl Port {
    /// No port: "choose one" in a request, never valid on the wire for TCP, "no reply wanted" for UDP.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
