//! Frames in the shape in which headers are read and written.

use frame::{Frame, Pool};
use wire::checksum::Sum;

/// Octets to leave in front of an IP payload so that all headers below it find room: Ethernet, one VLAN tag, IPv4
/// without options, and what rounds it up to a cache line's half.
pub const HEADROOM: usize = 64;

/// The frame with its first `len` octets, or all if there are fewer, in one piece. Copies only what was apart. `None`:
/// no memory.
pub(crate) fn with_head(frame: Frame, len: usize, pool: &'static dyn Pool) -> Option<Frame> {
    if frame.head().len() >= len || frame.is_contiguous() {
        return Some(frame);
    }
    copy_head(frame, len, pool)
}

/// The frame with its first `len` octets in one piece that may be written. `None`: no memory.
pub(crate) fn with_writable_head(mut frame: Frame, len: usize, pool: &'static dyn Pool) -> Option<Frame> {
    if frame.head().len() >= len && frame.head_mut().is_some() {
        return Some(frame);
    }
    copy_head(frame, len, pool)
}

fn copy_head(mut frame: Frame, len: usize, pool: &'static dyn Pool) -> Option<Frame> {
    let len = len.min(frame.len());
    let mut head = Frame::allocate(pool, HEADROOM, len)?;
    frame.copy_to(0, head.push_back(len)?);
    frame.pull(len);
    if !frame.is_empty() {
        head.append(frame).ok()?;
    }
    Some(head)
}

/// The frame with `octets` more in front, to be written by the caller: in its own headroom, or in a block of their own
/// before what is shared. `None`: no memory.
pub(crate) fn prepend(mut frame: Frame, octets: usize, pool: &'static dyn Pool) -> Option<Frame> {
    if frame.push_front(octets).is_some() {
        return Some(frame);
    }
    let mut head = Frame::allocate(pool, HEADROOM, octets)?;
    head.push_back(octets)?;
    if !frame.is_empty() {
        head.append(frame).ok()?;
    }
    Some(head)
}

/// A frame of these octets, with room for headers. `None`: no memory.
pub(crate) fn frame_of(octets: &[u8], pool: &'static dyn Pool) -> Option<Frame> {
    let mut frame = Frame::allocate(pool, HEADROOM, octets.len())?;
    frame.push_back(octets.len())?.copy_from_slice(octets);
    Some(frame)
}

/// Adds octets `from..to`, as far as there are any, to a checksum.
pub(crate) fn add_to_sum(mut sum: Sum, frame: &Frame, from: usize, to: usize) -> Sum {
    let mut at = 0;
    for segment in frame.segments() {
        let len = segment.octets.len();
        let start = from.saturating_sub(at).min(len);
        let end = to.saturating_sub(at).min(len).max(start);
        sum = sum.with(&segment.octets[start..end]);
        at += len;
    }
    sum
}

/// Octets behind the first `len`, as many as follow in one piece: a view for who only looks.
pub(crate) fn behind(frame: &Frame, len: usize) -> &[u8] {
    match frame.head().get(len..) {
        Some(rest) if !rest.is_empty() => rest,
        _ => frame.segments().nth(1).map_or(&[], |segment| segment.octets),
    }
}
