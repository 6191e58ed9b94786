//! /proc and /sys, as far as libc, std and common crates ask.

mod maps;
mod threads;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;

use kernel::arch::current::paging::PAGE_SIZE;
use kernel::sched::thread::Thread;
use kernel::{mm, sched, time};
use vfs::walk::{self, Resolve, Start};
use vfs::{Content, FileType, Jump, MagicLink, VirtualDir, VirtualEntry};

use super::device::Object;
use super::opened::directory_path;
use super::pages::Frames;
use super::table_dir::{Row, What};
use super::{Node, mount, now, root, working_directory};
use crate::fd::{self, Description};
use crate::process::PID;
use crate::time::NS;
use crate::{limits, start};

/// /proc.
pub const ROWS: &[Row] = &[
    Row("self", What::Link("1")),
    Row("thread-self", What::Magic(|| Box::new(threads::Current))),
    Row("1", What::Directory(PROCESS)),
    Row("mounts", What::Link("self/mounts")),
    Row("meminfo", What::Text(meminfo)),
    Row("cpuinfo", What::Text(cpuinfo)),
    Row("stat", What::Text(stat)),
    Row("uptime", What::Text(uptime)),
    Row("loadavg", What::Text(loadavg)),
    Row("version", What::Text(version)),
    Row("filesystems", What::Text(|| b"nodev\ttmpfs\nnodev\tproc\nnodev\tsysfs\n".to_vec())),
    Row("sys", What::Directory(&[Row("kernel", What::Directory(KERNEL)), Row("vm", What::Directory(VM))])),
];

const PROCESS: &[Row] = &[
    Row("exe", What::Magic(|| Box::new(Executable))),
    Row("cwd", What::Magic(|| Box::new(ToDirectory(working_directory)))),
    Row("root", What::Magic(|| Box::new(ToDirectory(|| root().clone())))),
    Row("fd", What::Virtual(|parent| Box::new(Descriptors { parent }))),
    Row("cmdline", What::Text(start::command_line)),
    Row("environ", What::Text(start::environment)),
    Row("maps", What::Text(maps::maps)),
    Row("stat", What::Text(threads::process_stat)),
    Row("task", What::Virtual(|parent| Box::new(threads::Threads { parent }))),
    Row("comm", What::Text(|| of_first_thread(threads::comm))),
    Row("status", What::Text(|| of_first_thread(status_of))),
    Row("statm", What::Text(statm)),
    Row("cgroup", What::Text(|| b"0::/\n".to_vec())),
    Row("mounts", What::Text(mounts)),
    Row("mountinfo", What::Text(mountinfo)),
];

const KERNEL: &[Row] = &[
    Row("osrelease", What::Text(|| line(crate::info::RELEASE))),
    Row("ostype", What::Text(|| line("Linux"))),
    Row("hostname", What::Text(|| line(crate::info::NODE_NAME))),
    Row("pid_max", What::Text(|| line("4194304"))),
];

const VM: &[Row] =
    &[Row("overcommit_memory", What::Text(|| line("2"))), Row("max_map_count", What::Text(|| line("65530")))];

/// /sys.
pub const SYS_ROWS: &[Row] = &[Row(
    "devices",
    What::Directory(&[Row("system", What::Directory(&[Row("cpu", What::Directory(CPU))]))]),
)];

const CPU: &[Row] =
    &[Row("online", What::Text(cpus)), Row("possible", What::Text(cpus)), Row("present", What::Text(cpus))];

fn line(text: &str) -> Vec<u8> {
    let mut line: Vec<u8> = text.into();
    line.push(b'\n');
    line
}

/// What a writer writes.
fn text(write: impl FnOnce(&mut String) -> core::fmt::Result) -> Vec<u8> {
    let mut text = String::new();
    // A string takes all.
    let _ = write(&mut text);
    text.into_bytes()
}

fn cpus() -> Vec<u8> {
    match sched::cpu_count() {
        1 => line("0"),
        count => text(|to| writeln!(to, "0-{}", count - 1)),
    }
}

fn meminfo() -> Vec<u8> {
    let free = mm::frames::free_count() * PAGE_SIZE / 1024;
    let usage = mm::usage();
    let total = free + usage.resident / 1024;
    text(|to| {
        for (name, value) in [
            ("MemTotal", total),
            ("MemFree", free),
            ("MemAvailable", free),
            ("Buffers", 0),
            ("Cached", 0),
            ("SwapTotal", 0),
            ("SwapFree", 0),
            ("Committed_AS", usage.committed / 1024),
        ] {
            writeln!(to, "{name}: {value:>11} kB")?;
        }
        Ok(())
    })
}

fn cpuinfo() -> Vec<u8> {
    text(|to| {
        for cpu in 0..sched::cpu_count() {
            writeln!(to, "processor\t: {cpu}\nphysical id\t: 0\ncore id\t\t: {cpu}\n")?;
        }
        Ok(())
    })
}

fn stat() -> Vec<u8> {
    let now = time::now_ns();
    let busy = sched::process_cpu_time_ns() / (NS / 100);
    let idle = (now / (NS / 100)).saturating_mul(sched::cpu_count().into()).saturating_sub(busy);
    text(|to| {
        writeln!(to, "cpu {busy} 0 0 {idle} 0 0 0 0 0 0")?;
        writeln!(to, "btime {}", time::realtime_offset_ns() / NS)
    })
}

fn uptime() -> Vec<u8> {
    let hundredths = time::now_ns() / (NS / 100);
    let idle = hundredths.saturating_sub(sched::process_cpu_time_ns() / (NS / 100));
    text(|to| writeln!(to, "{}.{:02} {}.{:02}", hundredths / 100, hundredths % 100, idle / 100, idle % 100))
}

fn loadavg() -> Vec<u8> {
    text(|to| writeln!(to, "0.00 0.00 0.00 1/{} {PID}", sched::count()))
}

fn version() -> Vec<u8> {
    text(|to| writeln!(to, "Linux version {} (includeos)", crate::info::RELEASE))
}

/// The program's path: an absolute one, whatever it was started as.
fn executable() -> Vec<u8> {
    let name = start::name();
    text(|to| write!(to, "{}{name}", if name.starts_with('/') { "" } else { "/" }))
}

/// What `of` says of the first thread.
fn of_first_thread(of: fn(&Arc<Thread>) -> Vec<u8>) -> Vec<u8> {
    sched::find(PID as u32).map(|thread| of(&thread)).unwrap_or_default()
}

fn status_of(thread: &Arc<Thread>) -> Vec<u8> {
    let usage = mm::usage();
    let name = threads::comm(thread);
    let (name, state) = (String::from_utf8_lossy(&name), threads::state(thread));
    let state = if state == 'R' { "R (running)" } else { "S (sleeping)" };
    text(|to| {
        write!(to, "Name:\t{name}State:\t{state}\nTgid:\t{PID}\nPid:\t{}\nPPid:\t0\n", thread.tid)?;
        write!(to, "TracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t{}\n", limits::files())?;
        writeln!(to, "VmSize:\t{:8} kB", usage.committed / 1024)?;
        writeln!(to, "VmHWM:\t{:8} kB", usage.peak_resident / 1024)?;
        writeln!(to, "VmRSS:\t{:8} kB", usage.resident / 1024)?;
        writeln!(to, "Threads:\t{}", sched::count())
    })
}

fn statm() -> Vec<u8> {
    let usage = mm::usage();
    text(|to| writeln!(to, "{} {} 0 0 0 0 0", usage.committed / PAGE_SIZE, usage.resident / PAGE_SIZE))
}

fn mounts() -> Vec<u8> {
    text(|to| {
        for mounted in mount::mounted() {
            let block = mounted.root.block();
            let access = if block.is_read_only() { "ro" } else { "rw" };
            writeln!(to, "{0} {1} {0} {access},relatime 0 0", block.kind, mounted.path)?;
        }
        Ok(())
    })
}

fn mountinfo() -> Vec<u8> {
    text(|to| {
        for (at, mounted) in mount::mounted().iter().enumerate() {
            let block = mounted.root.block();
            let access = if block.is_read_only() { "ro" } else { "rw" };
            let parent = usize::from(at > 0);
            writeln!(
                to,
                "{} {parent} 0:{} / {} {access},relatime - {2} {2} {access}",
                at + 1,
                block.device,
                mounted.path,
            )?;
        }
        Ok(())
    })
}

/// /proc/self/exe. The tree need not have the file.
struct Executable;

impl MagicLink<Frames> for Executable {
    fn text(&self) -> vfs::Result<Vec<u8>> {
        Ok(executable())
    }

    fn follow(&self) -> vfs::Result<Jump<Frames>> {
        let start = Start { root: root().clone(), at: root().clone(), resolve: Resolve::default() };
        Ok(Jump::Node(walk::node(&start, &executable(), true)?))
    }
}

/// A link to a directory, also to one that was removed.
struct ToDirectory(fn() -> Arc<Node>);

impl MagicLink<Frames> for ToDirectory {
    fn text(&self) -> vfs::Result<Vec<u8>> {
        directory_path(&(self.0)())
    }

    fn follow(&self) -> vfs::Result<Jump<Frames>> {
        Ok(Jump::Node((self.0)()))
    }
}

/// A number as the name of an entry: digits alone, and no zero before them.
fn number(name: &[u8]) -> Option<u32> {
    let is_plain = name.iter().all(u8::is_ascii_digit) && (name.len() == 1 || name.first() != Some(&b'0'));
    core::str::from_utf8(name).ok().filter(|_| is_plain)?.parse().ok()
}

/// /proc/self/fd.
struct Descriptors {
    parent: Arc<Node>,
}

impl VirtualDir<Frames> for Descriptors {
    fn lookup(&self, directory: &Arc<Node>, name: &[u8]) -> Option<Arc<Node>> {
        let fd = i32::try_from(number(name)?).ok()?;
        fd::get(fd).ok()?;
        let link = Content::MagicLink(Box::new(Descriptor { directory: directory.clone(), fd }));
        Some(Node::create_virtual(
            directory.block(),
            ino_of(directory, fd as u64),
            FileType::Symlink,
            0o700,
            link,
            now(),
        ))
    }

    fn entry(&self, position: u64) -> Option<VirtualEntry> {
        let fd = (position..fd::table_len() as u64).find(|fd| fd::get(*fd as i32).is_ok())?;
        Some(VirtualEntry {
            name: text(|to| write!(to, "{fd}")),
            kind: FileType::Symlink,
            ino: ino_of(&self.parent, fd),
            next: fd + 1,
        })
    }

    fn parent(&self) -> Option<Arc<Node>> {
        Some(self.parent.clone())
    }
}

fn ino_of(directory: &Node, fd: u64) -> u64 {
    (directory.ino() << 24) + fd
}

/// An entry of it: whatever has the number at the moment. It keeps nothing open.
struct Descriptor {
    directory: Arc<Node>,
    fd: i32,
}

impl Descriptor {
    fn description(&self) -> vfs::Result<Arc<Description>> {
        fd::get(self.fd).map_err(|_| vfs::Error::NotFound)
    }
}

impl MagicLink<Frames> for Descriptor {
    fn text(&self) -> vfs::Result<Vec<u8>> {
        let description = self.description()?;
        let file = description.file();
        if let Some(node) = file.node() {
            return match file.place() {
                Some(place) => place.path(node),
                None => directory_path(node),
            };
        }
        let stat = file.stat();
        Ok(match FileType::from_mode(stat.mode) {
            Some(FileType::CharDevice) => b"/dev/console".to_vec(),
            Some(FileType::Fifo) => text(|to| write!(to, "pipe:[{}]", stat.inode)),
            Some(FileType::Socket) => text(|to| write!(to, "socket:[{}]", stat.inode)),
            _ => b"anon_inode:[eventfd]".to_vec(),
        })
    }

    fn follow(&self) -> vfs::Result<Jump<Frames>> {
        let description = self.description()?;
        let file = description.file().clone();
        if let Some(node) = file.node() {
            return Ok(Jump::Node(node.clone()));
        }
        let stat = file.stat();
        let kind = FileType::from_mode(stat.mode).unwrap_or(FileType::Regular);
        let content = Content::Object(Arc::new(Object(file)));
        let block = self.directory.block();
        Ok(Jump::Node(Node::create_virtual(block, stat.inode, kind, stat.mode & 0o7777, content, now())))
    }
}
