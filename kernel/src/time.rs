//! The clocks.

use sync::Once;

use crate::arch::current::lapic;
use crate::arch::current::tsc::Clock;
use crate::arch::current::vdso;

struct Clocks {
    monotonic: Clock,
    /// Nanoseconds from the monotonic clock to UNIX time.
    realtime_offset: u64,
    has_wall_clock: bool,
}

static CLOCKS: Once<Clocks> = Once::new();

/// Starts the clocks. Called once, at boot.
pub fn init(monotonic: Clock, wall_ns_at_0: Option<u64>) {
    let realtime_offset = wall_ns_at_0.unwrap_or(0);
    vdso::set_clock(&monotonic, realtime_offset);
    let _ = CLOCKS.set(Clocks { monotonic, realtime_offset, has_wall_clock: wall_ns_at_0.is_some() });
}

/// Nanoseconds since the machine started; never steps back. 0 before [`init`].
pub fn now_ns() -> u64 {
    CLOCKS.get().map_or(0, |clocks| clocks.monotonic.now_ns())
}

/// Nanoseconds since 1970. Without a clock in the machine it starts at 0.
pub fn realtime_ns() -> u64 {
    now_ns() + realtime_offset_ns()
}

/// Nanoseconds from the monotonic clock to UNIX time.
pub fn realtime_offset_ns() -> u64 {
    CLOCKS.get().map_or(0, |clocks| clocks.realtime_offset)
}

/// Whether the machine or the command line told the time of day.
pub fn has_wall_clock() -> bool {
    CLOCKS.get().is_some_and(|clocks| clocks.has_wall_clock)
}

/// Has the timer interrupt come at `deadline_ns` or before.
pub fn arm_timer(deadline_ns: u64) {
    if let Some(clocks) = CLOCKS.get() {
        lapic::arm(&clocks.monotonic, deadline_ns);
    }
}
