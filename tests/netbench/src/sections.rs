//! [`Sections`]: stretches of work between marks.

use std::arch::asm;
use std::time::Instant;

/// Stretches of each case: what happens beside shows in a few, not in their median.
pub const SECTIONS: usize = 9;

/// What is to be told of them.
#[derive(Default)]
pub struct Sections {
    /// Nothing is marked.
    pub warms_up: bool,
    lines: String,
}

impl Sections {
    /// Marks a stretch of `operations`.
    pub fn mark(&mut self, case: &str, operations: usize, work: impl FnOnce()) {
        self.mark_counted(case, || {
            work();
            operations
        });
    }

    /// Marks a stretch of work that tells how many operations it was.
    pub fn mark_counted(&mut self, case: &str, work: impl FnOnce() -> usize) {
        if self.warms_up {
            work();
            return;
        }
        let began = Instant::now();
        start();
        let operations = work();
        end();
        let nanos = began.elapsed().as_nanos();
        self.lines += &format!("section {case} {operations} 0\ntime {case} {operations} {nanos}\n");
    }

    /// Tells what something takes.
    pub fn memory(&mut self, case: &str, octets: usize) {
        self.lines += &format!("memory {case} {octets}\n");
    }

    pub fn lines(&self) -> &str {
        &self.lines
    }
}

/// The octets are those of `Mark` in host/counter.
#[inline(always)]
fn start() {
    // SAFETY: a `nop` of seven octets.
    unsafe { asm!(".byte 0x0f, 0x1f, 0x80", ".ascii \"IOSs\"", options(nostack)) };
}

#[inline(always)]
fn end() {
    // SAFETY: as above.
    unsafe { asm!(".byte 0x0f, 0x1f, 0x80", ".ascii \"IOSe\"", options(nostack)) };
}
