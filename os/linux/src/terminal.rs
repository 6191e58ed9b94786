//! termios(3) and its kin: the console as a terminal.
//!
//! The console has no line discipline: the host's terminal echoes, edits lines and makes signals of keys. What the settings change here
//! is the end of input (`VEOF` in canonical mode ends it, in raw mode it is an octet like others) and how a raw read waits (`VMIN`, `VTIME`).
//! What has no effect is told as off, whatever a program sets, as termios(3) allows.

use core::sync::atomic::{AtomicBool, Ordering};

use kernel::{console, uaccess};
use sync::SpinLock;

use crate::errno::{EINVAL, ENOTTY, EPERM, Result};
use crate::process::PID;
use crate::time::NS;

/// Lines as they come (`c_lflag`).
const ICANON: u32 = 2;
/// 8 bits, receiver on, 115200 Bd (`c_cflag`).
const CFLAG: u32 = 0o60 | 0o200 | 0o10_002;
const SPEED: u32 = 115_200;
/// Control characters that have a meaning here (`c_cc`).
const VEOF: usize = 4;
const VTIME: usize = 5;
const VMIN: usize = 6;
const CC_COUNT: usize = 19;
/// As after a start of Linux.
const CC: [u8; CC_COUNT] = [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0];

struct Settings {
    canonical: bool,
    cc: [u8; CC_COUNT],
    /// Rows, columns, and their size in pixels.
    window: [u16; 4],
}

static SETTINGS: SpinLock<Settings> = SpinLock::new(Settings { canonical: true, cc: CC, window: [0; 4] });
/// The settings are other ones than at the start.
static CHANGED: AtomicBool = AtomicBool::new(false);

/// How a read waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadWait {
    /// For an octet.
    Octet,
    /// For an octet, and for so many nanoseconds; then it is as at the end.
    AtMost(u64),
}

/// How a read of the console waits.
pub fn read_wait() -> ReadWait {
    if !CHANGED.load(Ordering::Relaxed) {
        return ReadWait::Octet;
    }
    let settings = SETTINGS.lock();
    match settings.cc[VMIN] {
        0 if !settings.canonical => ReadWait::AtMost(u64::from(settings.cc[VTIME]) * (NS / 10)),
        _ => ReadWait::Octet,
    }
}

/// The terminal's part of ioctl(2).
///
/// # Errors
/// `ENOTTY`: it is no operation of terminals; `EFAULT`; `EINVAL`; `EPERM`.
pub fn ioctl(op: u32, arg: u64) -> Result {
    const TCGETS: u32 = 0x5401;
    const TCSETS: u32 = 0x5402;
    const TCSETSF: u32 = 0x5404;
    const TCSBRK: u32 = 0x5409;
    const TCXONC: u32 = 0x540a;
    const TCFLSH: u32 = 0x540b;
    const TIOCSCTTY: u32 = 0x540e;
    const TIOCGPGRP: u32 = 0x540f;
    const TIOCSPGRP: u32 = 0x5410;
    const TIOCGWINSZ: u32 = 0x5413;
    const TIOCSWINSZ: u32 = 0x5414;
    const FIONREAD: u32 = 0x541b;
    const TCSBRKP: u32 = 0x5425;
    const TIOCGSID: u32 = 0x5429;
    const TCGETS2: u32 = 0x802c_542a;
    const TCSETS2: u32 = 0x402c_542b;
    const TCSETSF2: u32 = 0x402c_542d;
    match op {
        TCGETS | TCGETS2 => {
            uaccess::write_bytes(arg, &termios()[..if op == TCGETS { TERMIOS_LEN } else { TERMIOS2_LEN }])?;
        }
        TCSETS..=TCSETSF | TCSETS2..=TCSETSF2 => {
            let mut octets = [0; TERMIOS_LEN];
            uaccess::read_bytes(arg, &mut octets)?;
            set(&octets);
            if matches!(op, TCSETSF | TCSETSF2) {
                console::discard_input();
            }
        }
        // What was written is out; a break cannot be sent.
        TCSBRK | TCSBRKP => {}
        TCXONC if arg > 3 => return Err(EINVAL),
        TCXONC => {}
        TCFLSH => match arg {
            // TCIFLUSH, TCOFLUSH, TCIOFLUSH
            0 | 2 => console::discard_input(),
            1 => {}
            _ => return Err(EINVAL),
        },
        TIOCSCTTY => {}
        TIOCGPGRP | TIOCGSID => uaccess::write(arg, PID as u32)?,
        TIOCSPGRP if u64::from(uaccess::read::<u32>(arg)?) != PID => return Err(EPERM),
        TIOCSPGRP => {}
        TIOCGWINSZ => {
            let [rows, columns, x, y] = SETTINGS.lock().window.map(u64::from);
            uaccess::write(arg, rows | columns << 16 | x << 32 | y << 48)?;
        }
        TIOCSWINSZ => {
            let window = uaccess::read::<u64>(arg)?;
            SETTINGS.lock().window = [0, 16, 32, 48].map(|shift| (window >> shift) as u16);
        }
        FIONREAD => uaccess::write(arg, console::input_len() as u32)?,
        _ => return Err(ENOTTY),
    }
    Ok(0)
}

/// `struct termios` of the kernel, and `struct termios2`, which has the speeds behind it.
const TERMIOS_LEN: usize = 36;
const TERMIOS2_LEN: usize = 44;
/// Where the fields are.
const LFLAG_AT: usize = 12;
const CC_AT: usize = 17;

fn termios() -> [u8; TERMIOS2_LEN] {
    let settings = SETTINGS.lock();
    let lflag = if settings.canonical { ICANON } else { 0 };
    let mut octets = [0; TERMIOS2_LEN];
    for (at, word) in [(8, CFLAG), (LFLAG_AT, lflag), (TERMIOS_LEN, SPEED), (TERMIOS_LEN + 4, SPEED)] {
        octets[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    octets[CC_AT..TERMIOS_LEN].copy_from_slice(&settings.cc);
    octets
}

fn set(octets: &[u8; TERMIOS_LEN]) {
    let canonical = u32::from(octets[LFLAG_AT]) & ICANON != 0;
    let mut settings = SETTINGS.lock();
    settings.canonical = canonical;
    settings.cc.copy_from_slice(&octets[CC_AT..]);
    console::set_end_of_input(canonical.then_some(settings.cc[VEOF]).filter(|octet| *octet != 0));
    CHANGED.store(true, Ordering::Relaxed);
}
