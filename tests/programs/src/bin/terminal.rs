//! The console as a terminal: raw and cooked input, the window's size.

use std::io::{self, IsTerminal, Read};

fn settings() -> io::Result<libc::termios> {
    // SAFETY: the structure is ours.
    unsafe {
        let mut settings = std::mem::zeroed();
        if libc::tcgetattr(0, &mut settings) == 0 { Ok(settings) } else { Err(io::Error::last_os_error()) }
    }
}

fn set(settings: &libc::termios) -> io::Result<()> {
    // SAFETY: as above.
    if unsafe { libc::tcsetattr(0, libc::TCSANOW, settings) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn main() -> io::Result<()> {
    println!("{} {} {}", io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal());
    let tty = std::fs::File::open("/dev/tty")?;
    println!("{} {}", tty.is_terminal(), std::fs::File::open("/dev/null")?.is_terminal());
    let cooked = settings()?;
    println!("canonical: {}", cooked.c_lflag & libc::ICANON != 0);
    // SAFETY: the structures are ours.
    unsafe {
        let window = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 1, ws_ypixel: 2 };
        println!("set: {}", libc::ioctl(1, libc::TIOCSWINSZ, &window));
        let mut window: libc::winsize = std::mem::zeroed();
        println!("got: {}", libc::ioctl(1, libc::TIOCGWINSZ, &mut window));
        println!("{} {} {} {}", window.ws_row, window.ws_col, window.ws_xpixel, window.ws_ypixel);
        println!("group: {} {}", libc::tcgetpgrp(0) == libc::getpid(), libc::tcsetpgrp(0, libc::getpid()));
        println!("drained: {}", libc::tcdrain(1));
    }
    let mut raw = cooked;
    // SAFETY: as above.
    unsafe { libc::cfmakeraw(&mut raw) };
    set(&raw)?;
    println!("raw: {}", settings()?.c_lflag & libc::ICANON == 0);
    println!("ready");
    let mut octets = [0; 4];
    // The octet that would be the end is one like others.
    io::stdin().lock().read_exact(&mut octets)?;
    println!("{octets:?}");
    raw.c_cc[libc::VMIN] = 0;
    raw.c_cc[libc::VTIME] = 1;
    set(&raw)?;
    // SAFETY: the buffer is ours.
    println!("nothing comes: {}", unsafe { libc::read(0, octets.as_mut_ptr().cast(), 4) });
    set(&cooked)?;
    println!("cooked: {}", settings()?.c_lflag & libc::ICANON != 0);
    Ok(())
}
