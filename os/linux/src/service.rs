//! Services: parts of the operating system that are in an image only if its program uses them.
//!
//! A service keeps a record in the section `inc_services`, in link order behind the libc symbol that needs it (`socket`): the linker
//! keeps the one exactly when it keeps the other. Nothing else refers to a service; the kernel finds it by its record.

use kernel::arch::current::vectors::TrapFrame;
use kernel::entry::Booted;

use crate::errno::{EAFNOSUPPORT, Result};
use crate::socket::Family;
use crate::table::name_once;

/// A service's record points here.
pub struct Service {
    /// Its name, as in the tool's `services` setting.
    pub name: &'static str,
    /// Brings it up, before the program starts.
    pub start: fn(&Booted),
    /// Carries out calls on sockets: [`crate::table::socket_call`].
    pub calls: fn(&mut TrapFrame) -> Result,
    /// The sockets it offers.
    pub sockets: &'static dyn Family,
}

/// Carries out a call on sockets, if the image holds them.
pub(crate) fn socket_call(frame: &mut TrapFrame) -> Result {
    let Some(service) = all().first() else {
        name_once(
            41,
            format_args!(
                "the network is not in this image: nothing the linker saw calls socket(); link with \
                 -Wl,-u,includeos_net"
            ),
        );
        return Err(EAFNOSUPPORT);
    };
    (service.calls)(frame)
}

#[cfg(includeos_metal)]
#[expect(unsafe_code, reason = "the linker's names for the records' place")]
mod records {
    use super::Service;

    // Weak: without a service there is no such section, and both are 0.
    core::arch::global_asm!(".weak __start_inc_services", ".weak __stop_inc_services");

    unsafe extern "C" {
        static __start_inc_services: u8;
        static __stop_inc_services: u8;
    }

    pub fn all() -> &'static [&'static Service] {
        let start = (&raw const __start_inc_services).cast::<&'static Service>();
        let stop = (&raw const __stop_inc_services).cast::<&'static Service>();
        let count = (stop as usize - start as usize) / size_of::<&Service>();
        if count == 0 {
            return &[];
        }
        // SAFETY: the linker puts the records between the two names; each is the address of a static `Service`.
        unsafe { core::slice::from_raw_parts(start, count) }
    }
}

#[cfg(not(includeos_metal))]
mod records {
    use super::Service;

    pub fn all() -> &'static [&'static Service] {
        &[]
    }
}

/// The services that this image holds.
pub fn all() -> &'static [&'static Service] {
    records::all()
}

/// Starts them. Called once, before the program's first thread.
pub fn start_all(booted: &Booted) {
    for service in all() {
        (service.start)(booted);
    }
}
