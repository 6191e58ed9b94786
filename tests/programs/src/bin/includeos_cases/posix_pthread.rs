//! `posix/pthread`: two threads are created and joined, and what they return arrives.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::show;

pub fn cases() {
    println!("# posix/pthread");
    let messages = [c"Thread 1", c"Thread 2"];
    let threads = messages.map(|message| {
        let mut thread = 0;
        let argument = message.as_ptr().cast_mut().cast::<c_void>();
        // SAFETY: the message outlives the thread.
        let created = unsafe { libc::pthread_create(&mut thread, std::ptr::null(), print_message, argument) };
        show("pthread_create", created.into());
        thread
    });
    let mut returned = threads.map(|thread| {
        let mut returned = null_mut();
        // SAFETY: each thread is joined once.
        show("pthread_join", unsafe { libc::pthread_join(thread, &mut returned) }.into());
        returned.addr()
    });
    // Which of them was first is not said.
    returned.sort_unstable();
    println!("returned: {returned:?}");
    println!("a message in each: {}", MESSAGES.load(Ordering::Relaxed) == messages.len());
}

static NEXT: AtomicUsize = AtomicUsize::new(42);
static MESSAGES: AtomicUsize = AtomicUsize::new(0);

extern "C" fn print_message(message: *mut c_void) -> *mut c_void {
    // SAFETY: the string that `cases` passes.
    let message = unsafe { std::ffi::CStr::from_ptr(message.cast()) };
    MESSAGES.fetch_add(message.to_bytes().starts_with(b"Thread ").into(), Ordering::Relaxed);
    null_mut::<c_void>().wrapping_byte_add(NEXT.fetch_add(1, Ordering::Relaxed))
}
