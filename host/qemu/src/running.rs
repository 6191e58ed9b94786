//! A machine that runs.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use abi::exit::INPUT_RECORD;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::Error;
use crate::outcome::Outcome;

/// Most that is read back from the status port and from QEMU's messages.
const TEXT_MAX: u64 = 64 * 1024;

/// A machine that runs. It is killed when this is dropped, when this process ends in any way, and when the thread
/// that started it ends.
#[derive(Debug)]
pub struct Running {
    child: Child,
    ended: OwnedFd,
    console: ChildStdout,
    status: File,
    stderr: File,
    /// The way to QEMU's monitor.
    monitor: Option<UnixStream>,
    timeout: Option<(Instant, Duration)>,
    /// The timeout that is over: what follows is the report.
    over: Option<Duration>,
}

/// The way into a machine's console.
#[derive(Debug)]
pub struct Input {
    console: ChildStdin,
    status: File,
    ended: OwnedFd,
}

impl Input {
    /// How often [`Self::wait_ready`] looks.
    const INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

    /// Waits until the image reads its console: what is written before may be lost. False: the machine has ended.
    pub fn wait_ready(&self) -> bool {
        loop {
            let mut text = [0; 256];
            let len = self.status.read_at(&mut text, 0).unwrap_or(0);
            if text[..len].split(|&octet| octet == b'\n').any(|line| line == INPUT_RECORD.as_bytes()) {
                return true;
            }
            if !matches!(poll(&mut [PollFd::new(&self.ended, PollFlags::IN)], Some(&Self::INTERVAL)), Ok(0)) {
                return false;
            }
        }
    }
}

impl Write for Input {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.console.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.console.flush()
    }
}

/// A machine that ran to its end.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote to its console.
    pub console: Vec<u8>,
}

/// Ends a machine from another thread.
#[derive(Debug)]
pub struct Stopper(OwnedFd);

impl Stopper {
    /// Ends the machine now, as if its power failed. Does nothing when it has ended already.
    pub fn stop(&self) {
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }
}

impl Finished {
    /// The console as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.console).into_owned()
    }
}

impl Running {
    pub(crate) fn new(
        mut child: Child,
        status: File,
        stderr: File,
        monitor: Option<UnixStream>,
        timeout: Option<(Instant, Duration)>,
    ) -> Result<Self, Error> {
        let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        match (ended, child.stdout.take()) {
            (Ok(ended), Some(console)) => {
                Ok(Self { child, ended, console, status, stderr, monitor, timeout, over: None })
            }
            (ended, _) => {
                let _ = child.kill();
                let _ = child.wait();
                let error = ended.err().unwrap_or(rustix::io::Errno::BADF);
                Err(Error::Host("cannot watch QEMU", error.into()))
            }
        }
    }

    /// The process id of QEMU.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The way into the console, where [`crate::Vm::input`] was set. Once.
    pub fn take_input(&mut self) -> Option<Input> {
        let status = self.status.try_clone().ok()?;
        let ended = self.ended.try_clone().ok()?;
        Some(Input { console: self.child.stdin.take()?, status, ended })
    }

    /// A way to end the machine from another thread while this one is in [`Self::pump`].
    ///
    /// # Errors
    /// The host has no more file descriptors.
    pub fn stopper(&self) -> Result<Stopper, Error> {
        self.ended.try_clone().map(Stopper).map_err(|e| Error::Host("cannot watch QEMU", e))
    }

    /// Hands each piece of console output to `on_bytes` as it arrives, until the machine ends, its time is over, or
    /// `on_bytes` breaks. The machine has ended when this returns.
    ///
    /// # Errors
    /// The host fails to say what happens to QEMU.
    pub fn pump(mut self, mut on_bytes: impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<Outcome, Error> {
        let mut buffer = [0; 16 * 1024];
        loop {
            if !self.wait_readable(self.console.as_fd())? {
                if self.ask_for_report() {
                    continue;
                }
                return self.end_by_timeout();
            }
            match self.console.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    if on_bytes(&buffer[..n]).is_break() {
                        return self.end(Outcome::Stopped);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Host("cannot read the console", error)),
            }
        }
        // QEMU closes its console a little before it ends.
        if !self.wait_readable(self.ended.as_fd())? {
            return self.end_by_timeout();
        }
        let qemu = self.child.wait().map_err(|e| Error::Host("cannot wait for QEMU", e))?;
        if let Some(limit) = self.over {
            return Ok(Outcome::TimedOut(limit));
        }
        let messages = text_of(&mut self.stderr);
        Ok(Outcome::decode(&text_of(&mut self.status), qemu, &messages))
    }

    /// Ends the machine now, as if its power failed.
    ///
    /// # Errors
    /// The host fails to say what happens to QEMU.
    pub fn kill(self) -> Result<Outcome, Error> {
        self.end(Outcome::Stopped)
    }

    /// The time is over: has the image report what its threads do, by a non-maskable interrupt. It gets a little time for that, and
    /// ends itself. False: there is no monitor, or that time is over as well.
    fn ask_for_report(&mut self) -> bool {
        const TIME_FOR_REPORT: Duration = Duration::from_secs(10);
        let (Some(monitor), None) = (&mut self.monitor, self.over) else { return false };
        let limit = self.timeout.map(|(_, limit)| limit).unwrap_or_default();
        self.over = Some(limit);
        self.timeout = Some((Instant::now(), TIME_FOR_REPORT));
        // What QEMU answers is little, and stays unread in the socket.
        monitor.write_all(b"nmi\n").is_ok()
    }

    fn end_by_timeout(self) -> Result<Outcome, Error> {
        let limit = self.over.or(self.timeout.map(|(_, limit)| limit)).unwrap_or_default();
        self.end(Outcome::TimedOut(limit))
    }

    /// Kills QEMU. If the image had said how it ends, that counts, otherwise `outcome`.
    ///
    /// A polite end (power button, a grace period, then this) belongs here, once images hear the power button.
    fn end(mut self, outcome: Outcome) -> Result<Outcome, Error> {
        let _ = self.child.kill();
        self.child.wait().map_err(|e| Error::Host("cannot wait for QEMU", e))?;
        let record = abi::exit::ExitRecord::find(&text_of(&mut self.status)).filter(|_| self.over.is_none());
        Ok(record.map_or(outcome, |record| Outcome::Exited(record.status)))
    }

    /// Waits until `fd` has something to say. False: the time is over.
    fn wait_readable(&self, fd: BorrowedFd<'_>) -> Result<bool, Error> {
        loop {
            let left = self.timeout.map(|(started, limit)| limit.saturating_sub(started.elapsed()));
            let timespec = left.map(|left| Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            });
            match poll(&mut [PollFd::new(&fd, PollFlags::IN)], timespec.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::Host("cannot wait for the console", error.into())),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All text in a file that another process wrote.
fn text_of(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.take(TEXT_MAX).read_to_end(&mut bytes));
    if read.is_err() {
        bytes.clear();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
