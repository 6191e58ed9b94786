//! Pipes with a name (fifo(7)): who waits for whom when they are opened, and what is left when they are closed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use programs::{Shown, in_folder, number, syscall};

const NONBLOCK: i32 = libc::O_NONBLOCK;

fn main() -> io::Result<()> {
    in_folder(Path::new("/dev/shm"), "fifos", all)
}

fn all() -> io::Result<()> {
    make()?;
    without_waiting()?;
    waiting()?;
    both_ways()?;
    ends()?;
    interrupted()?;
    by_descriptor()
}

fn mknod(name: &std::ffi::CStr, mode: u32) -> Shown {
    // SAFETY: makes a name.
    Shown(unsafe { syscall(number::MKNOD, [name.as_ptr() as u64, mode.into(), 0, 0, 0, 0]) })
}

fn open(read: bool, write: bool, flags: i32) -> io::Result<File> {
    File::options().read(read).write(write).custom_flags(flags).open("fifo")
}

fn shown<T>(result: io::Result<T>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => Shown(-i64::from(error.raw_os_error().unwrap_or(0))).to_string(),
    }
}

fn poll(file: &File) -> i16 {
    let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN | libc::POLLOUT, revents: 0 };
    // SAFETY: one element, ours.
    unsafe { libc::poll(&mut poll, 1, 0) };
    poll.revents
}

fn make() -> io::Result<()> {
    println!("made: {} {}", mknod(c"fifo", libc::S_IFIFO | 0o640), mknod(c"fifo", libc::S_IFIFO | 0o640));
    let metadata = fs::metadata("fifo")?;
    println!(
        "{} {} {:o}",
        metadata.file_type().is_fifo(),
        metadata.len(),
        std::os::unix::fs::MetadataExt::mode(&metadata)
    );
    println!("a folder: {}", shown(File::options().read(true).open("fifo/x")));
    println!("cut: {}", {
        // SAFETY: touches the name alone.
        Shown(unsafe { syscall(number::TRUNCATE, [c"fifo".as_ptr() as u64, 0, 0, 0, 0, 0]) })
    });
    Ok(())
}

fn without_waiting() -> io::Result<()> {
    println!("nobody reads: {}", shown(open(false, true, NONBLOCK)));
    let mut reader = open(true, false, NONBLOCK)?;
    let mut octets = [0; 10];
    println!("nobody writes: {:?} {:#x}", reader.read(&mut octets)?, poll(&reader));
    let mut writer = open(false, true, NONBLOCK)?;
    println!("nothing yet: {} {:#x} {:#x}", shown(reader.read(&mut octets)), poll(&reader), poll(&writer));
    writer.write_all(b"octets")?;
    println!("{:#x} {:?} {:?}", poll(&reader), reader.read(&mut octets)?, &octets[..6]);
    println!("no place: {} {}", shown(io::Seek::stream_position(&mut reader)), shown(writer.set_len(0)));
    drop(writer);
    println!("the end: {:?} {:#x}", reader.read(&mut octets)?, poll(&reader));
    let writer = open(false, true, NONBLOCK)?;
    println!("and another: {} {:#x}", shown(reader.read(&mut octets)), poll(&reader));
    drop(reader);
    println!("the reader is gone: {:#x}", poll(&writer));
    Ok(())
}

fn waiting() -> io::Result<()> {
    let opened = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut reader = open(true, false, 0)?;
            opened.store(true, Ordering::SeqCst);
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        std::thread::sleep(Duration::from_millis(30));
        println!("the reader waits: {}", !opened.load(Ordering::SeqCst));
        let mut writer = open(false, true, 0)?;
        writer.write_all(b"from the writer")?;
        drop(writer);
        println!("{:?}", thread.join().expect("it reads")?);
        opened.store(false, Ordering::SeqCst);
        let thread = scope.spawn(|| {
            let mut writer = open(false, true, 0)?;
            opened.store(true, Ordering::SeqCst);
            writer.write_all(b"waited for")
        });
        std::thread::sleep(Duration::from_millis(30));
        println!("the writer waits: {}", !opened.load(Ordering::SeqCst));
        let mut text = String::new();
        open(true, false, 0)?.read_to_string(&mut text)?;
        println!("{text:?} {}", shown(thread.join().expect("it writes")));
        Ok(())
    })
}

fn both_ways() -> io::Result<()> {
    let mut both = open(true, true, 0)?;
    println!("at once: {:#x}", poll(&both));
    both.write_all(b"echo")?;
    let mut octets = [0; 4];
    both.read_exact(&mut octets)?;
    println!("{:?} {:#x}", std::str::from_utf8(&octets), poll(&both));
    let mut reader = open(true, false, 0)?;
    both.write_all(b"more")?;
    reader.read_exact(&mut octets)?;
    println!("{:?}", std::str::from_utf8(&octets));
    Ok(())
}

/// Two names of one pipe; what nobody read goes with the last end; a name can go before.
fn ends() -> io::Result<()> {
    fs::hard_link("fifo", "second")?;
    let (mut reader, mut writer) =
        (open(true, false, NONBLOCK)?, File::options().write(true).open("second")?);
    writer.write_all(b"by the second name")?;
    let mut octets = [0; 30];
    let len = reader.read(&mut octets)?;
    println!("{:?}", std::str::from_utf8(&octets[..len]));
    writer.write_all(b"lost")?;
    drop((reader, writer));
    let mut reader = open(true, false, NONBLOCK)?;
    println!("left: {:?}", reader.read(&mut octets)?);
    println!("{:?}", fs::read_link(format!("/proc/self/fd/{}", reader.as_raw_fd()))?.file_name());
    let mut writer = open(false, true, 0)?;
    fs::remove_file("second")?;
    fs::rename("fifo", "other")?;
    writer.write_all(b"still")?;
    println!("{:?}", reader.read(&mut octets)?);
    fs::rename("other", "fifo")
}

extern "C" fn on_alarm(_: i32) {}

/// A signal ends the wait for the other end.
fn interrupted() -> io::Result<()> {
    // SAFETY: a handler that does nothing; SA_RESTART is not set.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_alarm as *const () as usize;
        libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
    }
    let timer = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 20_000 },
        it_value: libc::timeval { tv_sec: 0, tv_usec: 20_000 },
    };
    // SAFETY: the structures are ours.
    let open = unsafe {
        libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
        let fd = syscall(number::OPENAT, [-100i64 as u64, c"fifo".as_ptr() as u64, 0, 0, 0, 0]);
        libc::setitimer(libc::ITIMER_REAL, &std::mem::zeroed(), std::ptr::null_mut());
        fd
    };
    println!("a signal: {}", Shown(open));
    println!("nobody is left: {}", shown(self::open(false, true, NONBLOCK)));
    Ok(())
}

/// An end of a pipe without a name is opened once more by its descriptor's.
fn by_descriptor() -> io::Result<()> {
    let (mut reader, writer) = io::pipe()?;
    let mut again = File::options().write(true).open(format!("/proc/self/fd/{}", writer.as_raw_fd()))?;
    drop(writer);
    again.write_all(b"again")?;
    drop(again);
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    println!("{text:?}");
    Ok(())
}
