//! Services: parts of the operating system that are in an image only if its program uses them.
//!
//! A service keeps a record in the section `inc_services`, in link order behind the libc symbol that needs it (`socket`): the linker
//! keeps the one exactly when it keeps the other. Nothing else refers to a service; the kernel finds it by its record.

use alloc::vec::Vec;

use kernel::arch::current::vectors::TrapFrame;
use kernel::entry::Booted;
use sync::Once;

use crate::errno::{EAFNOSUPPORT, Result};
use crate::socket::Family;
use crate::table::name_once;

/// A service's record points here.
pub struct Service {
    /// Its name, as in the tool's `services` setting.
    pub name: &'static str,
    /// A seed from a device that it knows, where the machine has no other randomness.
    pub seed: fn(&Booted) -> Option<[u8; abi::seed::LEN]>,
    /// Brings it up, before the program starts.
    pub start: fn(&Booted),
    /// Ends what the program leaves behind, after its descriptors were closed; may wait, for a bounded time.
    pub stop: fn(),
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
                "the network is not in this image: nothing the linker saw calls socket(); say services = [\"net\"] in \
                 [package.metadata.includeos]"
            ),
        );
        return Err(EAFNOSUPPORT);
    };
    (service.calls)(frame)
}

/// The services that this image holds. They are found once, before the program runs: the records lie among the program's
/// constants, which the kernel does not touch under isolation but by `uaccess`.
static SERVICES: Once<Vec<&'static Service>> = Once::new();

#[cfg(includeos_metal)]
#[expect(unsafe_code, reason = "the linker's names for the records' place, and what they point to")]
mod records {
    use alloc::vec::Vec;

    use kernel::uaccess;

    use super::Service;

    // Weak: without a service there is no such section, and both are 0.
    core::arch::global_asm!(".weak __start_inc_services", ".weak __stop_inc_services");

    unsafe extern "C" {
        static __start_inc_services: u8;
        static __stop_inc_services: u8;
    }

    pub fn find() -> Vec<&'static Service> {
        let start = (&raw const __start_inc_services) as u64;
        let stop = (&raw const __stop_inc_services) as u64;
        let records = (start..stop).step_by(size_of::<u64>());
        let addresses = records.filter_map(|record| uaccess::read::<u64>(record).ok());
        let mut services: Vec<&'static Service> = Vec::new();
        for address in addresses {
            // SAFETY: each record is the address of a static `Service`, by the linker's hand; the program, which could not write
            // them anyway, has not run yet.
            let service = unsafe { &*(address as *const Service) };
            // One that was reached by two symbols has two records.
            if !services.iter().any(|known| core::ptr::eq(*known, service)) {
                services.push(service);
            }
        }
        services
    }
}

#[cfg(not(includeos_metal))]
mod records {
    use alloc::vec::Vec;

    use super::Service;

    pub fn find() -> Vec<&'static Service> {
        Vec::new()
    }
}

/// The services that this image holds.
pub fn all() -> &'static [&'static Service] {
    SERVICES.get().map(Vec::as_slice).unwrap_or_default()
}

/// Finds them. Called once, at the beginning.
pub fn find_all() {
    let _ = SERVICES.set(records::find());
}

/// A seed from a device of theirs.
pub fn seed(booted: &Booted) -> Option<[u8; abi::seed::LEN]> {
    all().iter().find_map(|service| (service.seed)(booted))
}

/// Starts them. Called once, before the program's first thread.
pub fn start_all(booted: &Booted) {
    for service in all() {
        (service.start)(booted);
    }
}

/// Ends them, as the program ends: descriptors are closed first, as Linux does.
pub(crate) fn stop_all() {
    if all().is_empty() {
        return;
    }
    crate::fd::close_all();
    for service in all() {
        (service.stop)();
    }
}
