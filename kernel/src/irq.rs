//! Device interrupts: vectors given out at run time, and what is called when one came.
//!
//! The handler in `arch/vectors` only sets the vector's bit. The functions connected here are called later, in a kernel section,
//! on the CPU that was interrupted ([`dispatch`]). Nothing on that way takes a lock: a slot is filled once and never emptied.
//!
//! An edge (a message, or a line that is treated so) comes once for each time that the device asks. A *level* is there as long
//! as the device asks, and would come again at once if it were acknowledged in the handler, for ever if a section was
//! interrupted. So the LAPIC hears of its end only after the functions have made the device let go; until then it keeps
//! back everything of the same or a lower class. Level vectors are therefore the lowest class of all.

use core::fmt;

use sync::{Once, SpinLock, Vectors};

use crate::arch::current::vectors::{EDGE_COUNT, FIRST_EDGE, FIRST_LEVEL, LEVEL_COUNT};
use crate::arch::current::{ioapic, lapic, percpu};

/// Devices that may share a line.
const SHARERS: usize = 4;

/// What is called when a device has interrupted.
#[derive(Clone, Copy, Debug)]
pub struct Handler {
    /// Called in a kernel section, on the CPU that the interrupt went to; may take as long as a network pass.
    pub call: fn(u64),
    /// Its argument.
    pub argument: u64,
}

/// How a line asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By going up. Whoever is called has to make the device let go before it looks for what happened, so that what
    /// happens afterwards is an edge again.
    Edge,
    /// By being up (active high). The functions that are called have to make the device let go.
    Level,
}

/// A message-signalled interrupt: what the device writes, and where (PCI 3.0 § 6.8; SDM vol. 3 § 12.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub address: u64,
    /// What.
    pub data: u32,
}

/// An interrupt that cannot be brought to a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// All vectors are given out, or too many devices share the line.
    NoVector,
    /// There is no CPU of this number, or its LAPIC's number is too large to be named in a message.
    NoCpu(u32),
    /// The machine has no I/O APIC with this input.
    NoLine(u32),
    /// The device says nothing of how it interrupts.
    NoInterrupt,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVector => write!(f, "all interrupt vectors are in use"),
            Self::NoCpu(cpu) => write!(f, "CPU {cpu} cannot be interrupted by devices"),
            Self::NoLine(line) => write!(f, "no I/O APIC has interrupt line {line}"),
            Self::NoInterrupt => write!(f, "the device has no interrupt"),
        }
    }
}

/// A vector for messages that is given out.
#[derive(Debug)]
pub struct MessageVector(u8);

type Slots<const N: usize> = [Once<Handler>; N];

static EDGES: [Slots<1>; EDGE_COUNT] = [const { [const { Once::new() }; 1] }; EDGE_COUNT];
static LEVELS: [Slots<SHARERS>; LEVEL_COUNT] = [const { [const { Once::new() }; SHARERS] }; LEVEL_COUNT];

/// The lines that are connected by level: which one has which vector. By place in `LEVELS`.
static LINES: SpinLock<[Option<u32>; LEVEL_COUNT]> = SpinLock::new([None; LEVEL_COUNT]);

/// Gives out a vector for messages; `handler` is called when one came. It is never taken back.
///
/// # Errors
/// [`ConnectError::NoVector`].
pub fn message_vector(handler: Handler) -> Result<MessageVector, ConnectError> {
    edge_vector(handler).map(MessageVector)
}

impl MessageVector {
    /// What a device has to write to interrupt `cpu`.
    ///
    /// # Errors
    /// [`ConnectError::NoCpu`].
    pub fn to_cpu(&self, cpu: u32) -> Result<Message, ConnectError> {
        let destination = u64::from(destination(cpu)?);
        Ok(Message { address: 0xfee0_0000 | destination << 12, data: u32::from(self.0) })
    }
}

/// Brings an I/O APIC input to a CPU, and has `handler` called there. A line by level may be connected several times; all its
/// handlers are called, on the CPU that was named last.
///
/// # Errors
/// [`ConnectError`]; the line is as it was.
pub fn connect_line(line: u32, trigger: Trigger, cpu: u32, handler: Handler) -> Result<(), ConnectError> {
    let destination = destination(cpu)?;
    if !ioapic::has_input(line) {
        return Err(ConnectError::NoLine(line));
    }
    let vector = match trigger {
        Trigger::Edge => edge_vector(handler)?,
        Trigger::Level => level_vector(line, handler)?,
    };
    let routed = ioapic::route(line, vector, trigger, destination);
    if routed { Ok(()) } else { Err(ConnectError::NoLine(line)) }
}

/// Brings a line that is connected to another CPU.
///
/// # Errors
/// [`ConnectError`]; the line is as it was.
pub fn move_line(line: u32, cpu: u32) -> Result<(), ConnectError> {
    let destination = destination(cpu)?;
    if ioapic::redirect(line, destination) { Ok(()) } else { Err(ConnectError::NoLine(line)) }
}

/// Number of a CPU's LAPIC, if a device can name it: 8 bits, of which 255 stands for all.
fn destination(cpu: u32) -> Result<u8, ConnectError> {
    let id = percpu::get(cpu).map(|cpu| cpu.apic_id.load(core::sync::atomic::Ordering::Relaxed));
    id.and_then(|id| u8::try_from(id).ok()).filter(|id| *id < 255).ok_or(ConnectError::NoCpu(cpu))
}

fn edge_vector(handler: Handler) -> Result<u8, ConnectError> {
    let free = EDGES.iter().position(|[slot]| slot.set(handler).is_ok());
    free.map(|at| FIRST_EDGE + at as u8).ok_or(ConnectError::NoVector)
}

fn level_vector(line: u32, handler: Handler) -> Result<u8, ConnectError> {
    let mut lines = LINES.lock();
    let known = lines.iter().position(|other| *other == Some(line));
    let at = known.or_else(|| lines.iter().position(Option::is_none)).ok_or(ConnectError::NoVector)?;
    if !LEVELS[at].iter().any(|slot| slot.set(handler).is_ok()) {
        return Err(ConnectError::NoVector);
    }
    lines[at] = Some(line);
    Ok(FIRST_LEVEL + at as u8)
}

/// Whether a vector is given out.
pub(crate) fn is_connected(vector: u64) -> bool {
    let at = |first: u8| vector.checked_sub(u64::from(first)).and_then(|at| usize::try_from(at).ok());
    at(FIRST_EDGE).and_then(|at| EDGES.get(at)).is_some_and(|[slot]| slot.get().is_some())
        || at(FIRST_LEVEL).and_then(|at| LEVELS.get(at)).is_some_and(|slots| slots[0].get().is_some())
}

// Each range lies in one word of the pending bits.
const _: () = assert!(FIRST_EDGE as usize % 64 + EDGE_COUNT <= 64 && EDGE_COUNT < 64);
const _: () = assert!(FIRST_LEVEL as usize % 64 + LEVEL_COUNT <= 64 && LEVEL_COUNT < 64);

/// Calls what is connected to the vectors that came.
#[inline]
pub(crate) fn dispatch(came: Vectors) {
    let (edges, levels) = (came.range(FIRST_EDGE, EDGE_COUNT), came.range(FIRST_LEVEL, LEVEL_COUNT));
    if edges | levels != 0 {
        call(edges, levels);
    }
}

#[cold]
fn call(edges: u64, levels: u64) {
    for at in bits(levels) {
        for handler in LEVELS[at].iter().map_while(Once::get) {
            (handler.call)(handler.argument);
        }
        lapic::end_of_interrupt();
    }
    for at in bits(edges) {
        if let Some(handler) = EDGES[at][0].get() {
            (handler.call)(handler.argument);
        }
    }
}

fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let first = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        (first < 64).then_some(first as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU64, Ordering};

    static CALLED: AtomicU64 = AtomicU64::new(0);

    fn note(argument: u64) {
        CALLED.fetch_or(argument, Ordering::Relaxed);
    }

    #[test]
    fn what_is_connected_is_called_and_nothing_else() {
        let handler = |argument| Handler { call: note, argument };
        let first = edge_vector(handler(1)).unwrap();
        let second = edge_vector(handler(2)).unwrap();
        let level = level_vector(11, handler(4)).unwrap();
        assert_eq!(level_vector(11, handler(8)), Ok(level), "a line that is shared");
        let other = level_vector(10, handler(16)).unwrap();
        assert!([first, second, level, other].iter().all(|vector| is_connected(u64::from(*vector))));
        assert!(!is_connected(u64::from(second) + 1) && !is_connected(0) && !is_connected(u64::MAX));

        let came = |vectors: &[u8]| {
            let pending = sync::PendingWork::new();
            vectors.iter().for_each(|vector| pending.record(*vector));
            CALLED.store(0, Ordering::Relaxed);
            dispatch(pending.take().unwrap_or_default());
            CALLED.load(Ordering::Relaxed)
        };
        assert_eq!(came(&[second]), 2);
        assert_eq!(came(&[first, level]), 13);
        assert_eq!(came(&[other]), 16);
        assert_eq!(came(&[second + 1, 0x40, 0xff, FIRST_EDGE - 1]), 0);

        for argument in [32, 64] {
            level_vector(11, handler(argument)).unwrap();
        }
        assert_eq!(level_vector(11, handler(128)), Err(ConnectError::NoVector));
        while edge_vector(handler(0)).is_ok() {}
        assert_eq!(message_vector(handler(0)).unwrap_err(), ConnectError::NoVector);
    }
}
