//! poll(2), select(2) and their kin.

use alloc::vec;
use alloc::vec::Vec;

use kernel::sched::{self, Wake};
use kernel::{time as clock, uaccess};

use crate::errno::{EBADF, EINVAL, ERESTARTNOHAND, Errno, Result};
use crate::readiness::events;
use crate::{fd, limits};
use crate::{signal, time};

/// One descriptor that is looked at.
struct Polled {
    fd: i32,
    wanted: u32,
    came: u32,
}

/// Looks at all; returns how many have something to report.
fn look(polled: &mut [Polled]) -> u64 {
    let mut count = 0;
    for entry in polled {
        entry.came = match fd::get(entry.fd) {
            _ if entry.fd < 0 => 0,
            Err(_) => events::NVAL,
            Ok(description) => description.file().events() & (entry.wanted | events::ALWAYS),
        };
        count += u64::from(entry.came != 0);
    }
    count
}

/// Waits until there is something to report, or the deadline. A step for each descriptor, each time one of them changes.
fn wait(polled: &mut [Polled], nonblocking: bool, deadline: Option<u64>) -> Result {
    loop {
        let count = look(polled);
        if count > 0 || nonblocking || deadline.is_some_and(|deadline| clock::now_ns() >= deadline) {
            return Ok(count);
        }
        let waiter = sched::prepare_wait();
        let open: Vec<_> =
            polled.iter().filter_map(|entry| Some((fd::get(entry.fd).ok()?, entry.wanted))).collect();
        let registered = open.iter().try_for_each(|(description, wanted)| {
            description
                .file()
                .readiness()
                .map_or(Ok(()), |readiness| readiness.start_polling(&waiter, *wanted))
        });
        // The second look: what changed before we were registered.
        let wake = if registered.is_err() || look(polled) > 0 {
            sched::cancel_wait(&waiter);
            Wake::Woken
        } else {
            sched::wait(deadline)
        };
        for (description, _) in &open {
            if let Some(readiness) = description.file().readiness() {
                readiness.stop_polling(&waiter);
            }
        }
        registered?;
        if wake == Wake::Notified {
            return Err(ERESTARTNOHAND);
        }
    }
}

/// poll(2).
pub fn poll(fds: u64, count: u64, timeout: i32) -> Result {
    let deadline = u64::try_from(timeout).ok().map(|ms| clock::now_ns() + ms * 1_000_000);
    poll_until(fds, count, timeout == 0, deadline)
}

/// ppoll(2). What is left of the time is written back, as the system call does.
pub fn ppoll(fds: u64, count: u64, timeout: u64, mask: u64, size: usize) -> Result {
    let (nonblocking, deadline) = relative(timeout, time::read_timespec)?;
    let result = signal::with_mask(mask, size, || poll_until(fds, count, nonblocking, deadline));
    write_left(timeout, deadline, 1);
    result
}

/// A timeout at an address, 0 being none: whether it is 0, and the deadline.
fn relative(
    address: u64,
    read: impl Fn(u64) -> core::result::Result<u64, Errno>,
) -> core::result::Result<(bool, Option<u64>), Errno> {
    if address == 0 {
        return Ok((false, None));
    }
    let span = read(address)?;
    Ok((span == 0, Some(clock::now_ns().saturating_add(span))))
}

/// Writes the time that is left as seconds and a fraction in `unit` nanoseconds. A fault is of no consequence, as on Linux.
fn write_left(address: u64, deadline: Option<u64>, unit: u64) {
    if let Some(deadline) = deadline {
        let left = deadline.saturating_sub(clock::now_ns());
        let _ = uaccess::write(address, [left / 1_000_000_000, left % 1_000_000_000 / unit]);
    }
}

fn poll_until(fds: u64, count: u64, nonblocking: bool, deadline: Option<u64>) -> Result {
    if count > limits::files() {
        return Err(EINVAL);
    }
    let mut polled = Vec::with_capacity(count as usize);
    for i in 0..count {
        // struct pollfd: int, two shorts.
        let [fd, wanted] = uaccess::read::<[i32; 2]>(fds.wrapping_add(8 * i))?;
        polled.push(Polled { fd, wanted: wanted as u32 & 0xffff, came: 0 });
    }
    let result = wait(&mut polled, nonblocking, deadline)?;
    for (i, entry) in polled.iter().enumerate() {
        let came = (entry.came as u16).to_le_bytes();
        uaccess::write_bytes(fds.wrapping_add(8 * i as u64 + 6), &came)?;
    }
    Ok(result)
}

const READ_SET: u32 = events::IN | events::RDNORM | events::HUP | events::ERR;
const WRITE_SET: u32 = events::OUT | events::WRNORM | events::ERR;
const EXCEPTION_SET: u32 = events::PRI;

/// select(2). What is left of the time is written back.
pub fn select(count: i32, read: u64, write: u64, exceptions: u64, timeout: u64) -> Result {
    let timeval = |address| {
        let [seconds, microseconds] = uaccess::read::<[i64; 2]>(address)?;
        let (Ok(seconds), Ok(microseconds)) = (u64::try_from(seconds), u64::try_from(microseconds)) else {
            return Err(EINVAL);
        };
        // Linux carries microseconds over.
        Ok(seconds.saturating_mul(1_000_000_000).saturating_add(microseconds.saturating_mul(1000)))
    };
    let (nonblocking, deadline) = relative(timeout, timeval)?;
    let result = select_until(count, [read, write, exceptions], nonblocking, deadline);
    write_left(timeout, deadline, 1000);
    result
}

/// pselect6(2): the last argument points to a mask and its size.
pub fn pselect6(count: i32, read: u64, write: u64, exceptions: u64, timeout: u64, mask: u64) -> Result {
    let (nonblocking, deadline) = relative(timeout, time::read_timespec)?;
    let [mask, size] = if mask == 0 { [0, 8] } else { uaccess::read::<[u64; 2]>(mask)? };
    let result = signal::with_mask(mask, size as usize, || {
        select_until(count, [read, write, exceptions], nonblocking, deadline)
    });
    write_left(timeout, deadline, 1);
    result
}

fn select_until(count: i32, sets: [u64; 3], nonblocking: bool, deadline: Option<u64>) -> Result {
    let count = usize::try_from(count).map_err(|_| EINVAL)?.min(fd::MAX);
    let octets = count.div_ceil(64) * 8;
    let mut bits = [const { Vec::new() }; 3];
    for (set, bits) in sets.into_iter().zip(&mut bits) {
        *bits = vec![0u8; octets];
        if set != 0 {
            uaccess::read_bytes(set, bits)?;
        }
    }
    let in_set = |bits: &[u8], fd: usize| bits[fd / 8] & 1 << (fd % 8) != 0;
    let groups = [READ_SET, WRITE_SET, EXCEPTION_SET];
    let mut polled = Vec::new();
    for fd in 0..count {
        let wanted = groups
            .iter()
            .zip(&bits)
            .filter(|(_, bits)| in_set(bits, fd))
            .fold(0, |all, (group, _)| all | group);
        if wanted != 0 {
            if fd::get(fd as i32).is_err() {
                return Err(EBADF);
            }
            polled.push(Polled { fd: fd as i32, wanted, came: 0 });
        }
    }
    wait(&mut polled, nonblocking, deadline)?;
    let mut total = 0;
    for ((set, bits), group) in sets.into_iter().zip(&mut bits).zip(groups) {
        let asked = core::mem::replace(bits, vec![0; octets]);
        for entry in &polled {
            let fd = entry.fd as usize;
            if in_set(&asked, fd) && entry.came & group != 0 {
                bits[fd / 8] |= 1 << (fd % 8);
                total += 1;
            }
        }
        if set != 0 {
            uaccess::write_bytes(set, bits)?;
        }
    }
    Ok(total)
}
