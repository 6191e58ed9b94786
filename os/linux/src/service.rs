//! Services: parts of the operating system that are in an image only if its program uses them.
//!
//! A service keeps a record in the section `inc_services`, in link order behind a symbol: the linker keeps the one exactly when it
//! keeps the other. `includeos_files` and its kin are asked for by the tool, which sees what a program refers to; `socket` is
//! libc's, too, and brings sockets in by itself. Nothing else refers to a service: the kernel finds it by its record, the calls that
//! it carries out are in a dispatch of its own ([`crate::table`]), and what the core has to tell it goes through functions that it
//! hands over when it starts.

use abi::service::Service;
use kernel::arch::current::vectors::TrapFrame;
use kernel::entry::Booted;
use sync::Once;

use crate::errno::{EAFNOSUPPORT, ENOSYS, Errno, Result};
use crate::files;
use crate::socket::{AF_INET, AF_INET6, AF_UNIX, Family};
use crate::table::{self, name_once};

/// What the section's entries point to.
pub struct Record {
    /// Which service it is.
    pub service: Service,
    /// Carries out its calls.
    pub calls: fn(&mut TrapFrame) -> Result,
    /// Brings it up, before the program starts.
    pub start: fn(&Booted),
    /// What only the network has.
    pub network: Option<&'static Network>,
    /// The sockets it makes.
    pub sockets: Option<&'static dyn Family>,
}

/// What the network offers beyond its calls.
pub struct Network {
    /// A seed from a device that it knows, where the machine has no other randomness.
    pub seed: fn(&Booted) -> Option<[u8; abi::seed::LEN]>,
    /// Ends what the program leaves behind, after its descriptors were closed; may wait, for a bounded time.
    pub stop: fn(),
}

/// Carries out a call of a service, if the image holds that.
pub(crate) fn call(service: Service, frame: &mut TrapFrame) -> Result {
    match find(service) {
        Some(record) => (record.calls)(frame),
        None if service == Service::Files => files::absent::call(frame),
        None => absent(service),
    }
}

/// A call of a service that is not in the image: named once, with the remedy.
#[inline(never)]
pub(crate) fn absent(service: Service) -> Result {
    let (number, what, error) = match service {
        Service::Files => (2, "files are", ENOSYS),
        Service::Pipes => (22, "pipes are", ENOSYS),
        Service::Events => (213, "epoll, eventfd, timerfd, signalfd and select are", ENOSYS),
        Service::Timers => (222, "POSIX timers are", ENOSYS),
        Service::Scheduling => (144, "scheduling policies are", ENOSYS),
        Service::Futexes => (202, "futex operations but wait and wake are", ENOSYS),
        Service::Net => (41, "the network is", EAFNOSUPPORT),
        Service::Local => (53, "local sockets are", EAFNOSUPPORT),
    };
    name_once(
        number,
        format_args!(
            "{what} not in this image: the tool saw no use of them; say services = [\"{}\"] in \
             [package.metadata.includeos]",
            service.name()
        ),
    );
    Err(error)
}

/// The services that this image holds. They are found once, before the program runs: the records lie among the program's
/// constants, which the kernel does not touch under isolation but by `uaccess`.
static SERVICES: Once<[Option<&'static Record>; Service::ALL.len()]> = Once::new();

/// What keeps the record of a service of this crate: nothing but its own name.
#[cfg(includeos_metal)]
macro_rules! record {
    ($symbol:literal, $service:path) => {
        core::arch::global_asm!(
            concat!(".section .hook.", $symbol, ",\"ax\",@progbits"),
            concat!(".globl ", $symbol),
            concat!(".type ", $symbol, ",@function"),
            concat!($symbol, ":"),
            "ret",
            concat!(".section inc_services,\"ao\",@progbits,.hook.", $symbol),
            ".balign 8",
            ".quad {service}",
            ".text",
            service = sym $service,
        );
    };
}

#[cfg_attr(
    not(includeos_metal),
    expect(dead_code, reason = "the records are the only thing that refers to them")
)]
mod own {
    use super::{Record, Service, files, table};

    pub static FILES: Record = Record {
        service: Service::Files,
        calls: table::call_of::<{ Service::Files as u8 }>,
        start: files::mount::start,
        network: None,
        sockets: None,
    };
    pub static PIPES: Record = Record {
        service: Service::Pipes,
        calls: table::call_of::<{ Service::Pipes as u8 }>,
        start: |_| {},
        network: None,
        sockets: None,
    };
    pub static EVENTS: Record = Record {
        service: Service::Events,
        calls: table::call_of::<{ Service::Events as u8 }>,
        start: |_| {},
        network: None,
        sockets: None,
    };
    pub static TIMERS: Record = Record {
        service: Service::Timers,
        calls: table::call_of::<{ Service::Timers as u8 }>,
        start: |_| crate::timer::start(),
        network: None,
        sockets: None,
    };
    pub static FUTEXES: Record = Record {
        service: Service::Futexes,
        calls: table::call_of::<{ Service::Futexes as u8 }>,
        start: |_| crate::futex::operations::start(),
        network: None,
        sockets: None,
    };
    pub static SCHEDULING: Record = Record {
        service: Service::Scheduling,
        calls: table::call_of::<{ Service::Scheduling as u8 }>,
        start: |_| {},
        network: None,
        sockets: None,
    };
}

#[cfg(includeos_metal)]
#[expect(unsafe_code, reason = "the linker's names for the records' place, and what they point to")]
mod records {
    use alloc::vec::Vec;

    use kernel::uaccess;

    use super::Record;

    record!("includeos_files", super::own::FILES);
    record!("includeos_pipes", super::own::PIPES);
    record!("includeos_events", super::own::EVENTS);
    record!("includeos_timers", super::own::TIMERS);
    record!("includeos_scheduling", super::own::SCHEDULING);
    record!("includeos_futexes", super::own::FUTEXES);

    // Weak: without a service there is no such section, and both are 0.
    core::arch::global_asm!(".weak __start_inc_services", ".weak __stop_inc_services");

    unsafe extern "C" {
        static __start_inc_services: u8;
        static __stop_inc_services: u8;
    }

    pub fn find() -> Vec<&'static Record> {
        let start = (&raw const __start_inc_services) as u64;
        let stop = (&raw const __stop_inc_services) as u64;
        let records = (start..stop).step_by(size_of::<u64>());
        let addresses = records.filter_map(|record| uaccess::read::<u64>(record).ok());
        let mut services: Vec<&'static Record> = Vec::new();
        for address in addresses {
            // SAFETY: each record is the address of a static `Record`, by the linker's hand; the program, which could not write
            // them anyway, has not run yet.
            let service = unsafe { &*(address as *const Record) };
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

    use super::Record;

    pub fn find() -> Vec<&'static Record> {
        Vec::new()
    }
}

/// A service, if the image holds it.
pub fn find(service: Service) -> Option<&'static Record> {
    SERVICES.get().and_then(|services| services[service as usize])
}

/// What makes sockets of a family.
///
/// # Errors
/// `EAFNOSUPPORT`: there is no such family, or the image does not hold it.
pub(crate) fn sockets(domain: u16) -> core::result::Result<&'static dyn Family, Errno> {
    let service = match domain {
        AF_INET | AF_INET6 => Service::Net,
        AF_UNIX => Service::Local,
        _ => return Err(EAFNOSUPPORT),
    };
    match find(service).and_then(|record| record.sockets) {
        Some(family) => Ok(family),
        // libc asks for names of hosts and users by one (nscd), and does without: nothing that the program need be told of.
        None if service == Service::Local => {
            kernel::log!(Info, "local sockets are not in this image; services = [\"local\"] brings them in");
            Err(EAFNOSUPPORT)
        }
        None => Err(absent(service).err().unwrap_or(EAFNOSUPPORT)),
    }
}

/// The network, if the image holds it.
pub fn network() -> Option<&'static Network> {
    find(Service::Net)?.network
}

fn all() -> impl Iterator<Item = &'static Record> {
    SERVICES.get().into_iter().flatten().flatten().copied()
}

/// Finds them. Called once, at the beginning.
pub fn find_all() {
    let mut services = [None; Service::ALL.len()];
    for record in records::find() {
        services[record.service as usize] = Some(record);
    }
    let _ = SERVICES.set(services);
}

/// A seed from a device of theirs.
pub fn seed(booted: &Booted) -> Option<[u8; abi::seed::LEN]> {
    network().and_then(|network| (network.seed)(booted))
}

/// Starts them. Called once, before the program's first thread.
pub fn start_all(booted: &Booted) {
    for record in all() {
        (record.start)(booted);
    }
}

/// Ends them, as the program ends: descriptors are closed first, as Linux does.
pub(crate) fn stop_all() {
    if let Some(network) = network() {
        crate::fd::close_all();
        (network.stop)();
    }
}
