//! What differs from one kind of CPU to the next.

pub mod x86_64;

pub use x86_64 as current;
