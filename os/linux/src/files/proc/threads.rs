//! /proc/self/task: the threads, each a directory.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;

use kernel::arch::current::paging::PAGE_SIZE;
use kernel::mm;
use kernel::sched;
use kernel::sched::thread::{Thread, Tid};
use vfs::{Content, FileType, Jump, MagicLink, TextFile, VirtualDir, VirtualEntry};

use super::{Frames, Node, number, status_of, text};
use crate::files::now;
use crate::process::PID;
use crate::time::NS;

/// /proc/self/task.
pub struct Threads {
    /// /proc/self.
    pub parent: Arc<Node>,
}

impl VirtualDir<Frames> for Threads {
    fn lookup(&self, directory: &Arc<Node>, name: &[u8]) -> Option<Arc<Node>> {
        let tid: Tid = number(name)?;
        sched::find(tid).filter(|thread| thread.tid != 0)?;
        let content = Content::VirtualDir(Box::new(OneThread { tid, parent: directory.clone() }));
        let ino = ino_of(directory, tid, 0);
        Some(Node::create_virtual(directory.block(), ino, FileType::Directory, 0o555, content, now()))
    }

    fn entry(&self, position: u64) -> Option<VirtualEntry> {
        let mut next: Option<Tid> = None;
        sched::for_each_thread(|thread| {
            if u64::from(thread.tid) >= position.max(1) {
                next = Some(next.map_or(thread.tid, |next| next.min(thread.tid)));
            }
        });
        let tid = next?;
        Some(VirtualEntry {
            name: text(|to| write!(to, "{tid}")),
            kind: FileType::Directory,
            ino: ino_of(&self.parent, tid, 0),
            next: u64::from(tid) + 1,
        })
    }

    fn parent(&self) -> Option<Arc<Node>> {
        Some(self.parent.clone())
    }
}

fn ino_of(directory: &Node, tid: Tid, file: usize) -> u64 {
    (1 << 48) + (directory.ino() << 36) + (u64::from(tid) << 4) + file as u64
}

/// A thread's directory.
struct OneThread {
    tid: Tid,
    parent: Arc<Node>,
}

/// Makes the text of a file.
type Of = fn(&Arc<Thread>) -> Vec<u8>;

/// Its files; the first one can be written to.
const FILES: [(&str, Of); 3] = [("comm", comm), ("stat", stat), ("status", status)];

impl VirtualDir<Frames> for OneThread {
    fn lookup(&self, directory: &Arc<Node>, name: &[u8]) -> Option<Arc<Node>> {
        let at = FILES.iter().position(|(file, _)| file.as_bytes() == name)?;
        let content = Content::Text(Box::new(ThreadFile { tid: self.tid, at }));
        let (ino, mode) = (directory.ino() + 1 + at as u64, if at == 0 { 0o644 } else { 0o444 });
        Some(Node::create_virtual(directory.block(), ino, FileType::Regular, mode, content, now()))
    }

    fn entry(&self, position: u64) -> Option<VirtualEntry> {
        let (name, _) = FILES.get(usize::try_from(position).ok()?)?;
        Some(VirtualEntry {
            name: name.as_bytes().to_vec(),
            kind: FileType::Regular,
            ino: ino_of(&self.parent, self.tid, 1 + position as usize),
            next: position + 1,
        })
    }

    fn parent(&self) -> Option<Arc<Node>> {
        Some(self.parent.clone())
    }
}

/// A file about a thread; empty when the thread is gone.
struct ThreadFile {
    tid: Tid,
    at: usize,
}

impl TextFile for ThreadFile {
    fn text(&self) -> Vec<u8> {
        sched::find(self.tid).map(|thread| FILES[self.at].1(&thread)).unwrap_or_default()
    }

    /// Renames the thread (pthread_setname_np(3)).
    fn write(&self, octets: &[u8]) -> vfs::Result<()> {
        if self.at != 0 {
            return Err(vfs::Error::NotPermitted);
        }
        let thread = sched::find(self.tid).ok_or(vfs::Error::NotFound)?;
        let mut name = [0; 16];
        let len = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len()).min(15);
        name[..len].copy_from_slice(&octets[..len]);
        thread.set_name(name);
        Ok(())
    }
}

/// A thread's name, as it is.
fn name(thread: &Thread) -> Vec<u8> {
    thread.name().into_iter().take_while(|octet| *octet != 0).collect()
}

/// A thread's name and a line break.
pub fn comm(thread: &Arc<Thread>) -> Vec<u8> {
    let mut name = name(thread);
    name.push(b'\n');
    name
}

fn status(thread: &Arc<Thread>) -> Vec<u8> {
    status_of(thread)
}

/// `R` for the thread that asks; of the others it is not looked at whether they run.
pub fn state(thread: &Thread) -> char {
    if sched::current().tid == thread.tid { 'R' } else { 'S' }
}

/// The fields of proc_pid_stat(5), for one thread.
fn stat(thread: &Arc<Thread>) -> Vec<u8> {
    stat_of(thread, sched::cpu_time_ns(thread))
}

/// The same, for the process: its first thread's name and all threads' time.
pub fn process_stat() -> Vec<u8> {
    sched::find(PID as Tid).map(|thread| stat_of(&thread, sched::process_cpu_time_ns())).unwrap_or_default()
}

fn stat_of(thread: &Arc<Thread>, cpu_ns: u64) -> Vec<u8> {
    let (usage, image) = (mm::usage(), mm::image::range());
    let (blocked, name) = (thread.signals.lock().mask, name(thread));
    let name = alloc::string::String::from_utf8_lossy(&name);
    let ticks = cpu_ns / (NS / 100);
    text(|to| {
        // pid, comm, state, ppid, pgrp, session, tty_nr, tpgid, flags, minflt, cminflt, majflt, cmajflt
        write!(to, "{} ({name}) {} 0 {PID} {PID} 0 -1 0 0 0 0 0 ", thread.tid, state(thread))?;
        // utime, stime, cutime, cstime, priority, nice, num_threads, itrealvalue, starttime
        write!(to, "{ticks} 0 0 0 20 0 {} 0 0 ", sched::count())?;
        // vsize, rss, rsslim, startcode, endcode, startstack, kstkesp, kstkeip
        let rss = usage.resident / PAGE_SIZE;
        write!(
            to,
            "{} {rss} {} {} {} {} 0 0 ",
            usage.committed,
            u64::MAX,
            image.start,
            image.end,
            mm::STACK_TOP
        )?;
        // signal, blocked, sigignore, sigcatch, wchan, nswap, cnswap, exit_signal, processor, rt_priority, policy
        write!(to, "0 {blocked} 0 0 0 0 0 17 0 0 0 ")?;
        // delayacct, guest, cguest, start_data, end_data, start_brk, arg_start, arg_end, env_start, env_end, exit_code
        writeln!(to, "0 0 0 {} {} {} 0 0 0 0 0", image.start, image.end, mm::heap().start)
    })
}

/// /proc/thread-self.
pub struct Current;

impl MagicLink<Frames> for Current {
    fn text(&self) -> vfs::Result<Vec<u8>> {
        Ok(text(|to| write!(to, "{PID}/task/{}", sched::current().tid)))
    }

    fn follow(&self) -> vfs::Result<Jump<Frames>> {
        self.text().map(Jump::Path)
    }
}
