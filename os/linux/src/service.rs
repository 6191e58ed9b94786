//! Services: parts of the operating system that are in an image only if its program uses them.
//!
//! A service keeps a record in the section `inc_services`, in link order behind a symbol: the linker keeps the one exactly when it
//! keeps the other. `includeos_files` and its kin are asked for by the tool, which sees what a program refers to; `socket` is
//! libc's, too, and brings sockets in by itself. Nothing else refers to a service: the kernel finds it by its record, the calls that
//! it carries out are in a dispatch of its own ([`crate::table`]), and what the core has to tell it goes through functions that it
//! hands over when it starts.

use kernel::arch::current::vectors::TrapFrame;
use kernel::entry::Booted;
use sync::Once;

use crate::errno::{EAFNOSUPPORT, ENOSYS, Errno, Result};
use crate::files;
use crate::socket::{AF_INET, AF_INET6, AF_UNIX, Family};
use crate::table::{self, name_once};

/// The services there are, in the order in which they start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Files in memory, the image's tree, /proc, /dev and /sys, locks of files.
    Files,
    /// pipe(2).
    Pipes,
    /// epoll(7), eventfd(2), timerfd_create(2), select(2).
    Events,
    /// POSIX timers and interval timers.
    Timers,
    /// Policies and priorities of threads.
    Scheduling,
    /// What futex(2) does beyond waiting and waking: requeueing, priority inheritance, futex_waitv(2).
    Futexes,
    /// Sockets, the network stack and its devices.
    Net,
    /// Sockets inside the image (unix(7)).
    Local,
}

/// How many there are.
const COUNT: usize = 8;

/// A service's record points here.
pub struct Service {
    /// Which it is.
    pub kind: Kind,
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
pub(crate) fn call(kind: Kind, frame: &mut TrapFrame) -> Result {
    match find(kind) {
        Some(service) => (service.calls)(frame),
        None if kind == Kind::Files => files::absent::call(frame),
        None => absent(kind),
    }
}

/// A call of a service that is not in the image: named once, with the remedy.
#[inline(never)]
pub(crate) fn absent(kind: Kind) -> Result {
    let (number, what, name, error) = match kind {
        Kind::Files => (2, "files are", "files", ENOSYS),
        Kind::Pipes => (22, "pipes are", "pipes", ENOSYS),
        Kind::Events => (213, "epoll, eventfd, timerfd and select are", "events", ENOSYS),
        Kind::Timers => (222, "POSIX timers are", "timers", ENOSYS),
        Kind::Scheduling => (144, "scheduling policies are", "scheduling", ENOSYS),
        Kind::Futexes => (202, "futex operations but wait and wake are", "futexes", ENOSYS),
        Kind::Net => (41, "the network is", "net", EAFNOSUPPORT),
        Kind::Local => (53, "local sockets are", "local", EAFNOSUPPORT),
    };
    name_once(
        number,
        format_args!(
            "{what} not in this image: the tool saw no use of them; say services = [\"{name}\"] in \
             [package.metadata.includeos]"
        ),
    );
    Err(error)
}

/// The services that this image holds. They are found once, before the program runs: the records lie among the program's
/// constants, which the kernel does not touch under isolation but by `uaccess`.
static SERVICES: Once<[Option<&'static Service>; COUNT]> = Once::new();

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
    use super::{Kind, Service, files, table};

    pub static FILES: Service = Service {
        kind: Kind::Files,
        calls: table::call_of::<{ Kind::Files as u8 }>,
        start: files::mount::start,
        network: None,
        sockets: None,
    };
    pub static PIPES: Service = Service {
        kind: Kind::Pipes,
        calls: table::call_of::<{ Kind::Pipes as u8 }>,
        start: |_| {},
        network: None,
        sockets: None,
    };
    pub static EVENTS: Service = Service {
        kind: Kind::Events,
        calls: table::call_of::<{ Kind::Events as u8 }>,
        start: |_| {},
        network: None,
        sockets: None,
    };
    pub static TIMERS: Service = Service {
        kind: Kind::Timers,
        calls: table::call_of::<{ Kind::Timers as u8 }>,
        start: |_| crate::timer::start(),
        network: None,
        sockets: None,
    };
    pub static FUTEXES: Service = Service {
        kind: Kind::Futexes,
        calls: table::call_of::<{ Kind::Futexes as u8 }>,
        start: |_| crate::futex::operations::start(),
        network: None,
        sockets: None,
    };
    pub static SCHEDULING: Service = Service {
        kind: Kind::Scheduling,
        calls: table::call_of::<{ Kind::Scheduling as u8 }>,
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

    use super::Service;

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

/// A service, if the image holds it.
pub fn find(kind: Kind) -> Option<&'static Service> {
    SERVICES.get().and_then(|services| services[kind as usize])
}

/// What makes sockets of a family.
///
/// # Errors
/// `EAFNOSUPPORT`: there is no such family, or the image does not hold it.
pub(crate) fn sockets(domain: u16) -> core::result::Result<&'static dyn Family, Errno> {
    let kind = match domain {
        AF_INET | AF_INET6 => Kind::Net,
        AF_UNIX => Kind::Local,
        _ => return Err(EAFNOSUPPORT),
    };
    match find(kind).and_then(|service| service.sockets) {
        Some(family) => Ok(family),
        None => Err(absent(kind).err().unwrap_or(EAFNOSUPPORT)),
    }
}

/// The network, if the image holds it.
pub fn network() -> Option<&'static Network> {
    find(Kind::Net)?.network
}

fn all() -> impl Iterator<Item = &'static Service> {
    SERVICES.get().into_iter().flatten().flatten().copied()
}

/// Finds them. Called once, at the beginning.
pub fn find_all() {
    let mut services = [None; COUNT];
    for service in records::find() {
        services[service.kind as usize] = Some(service);
    }
    let _ = SERVICES.set(services);
}

/// A seed from a device of theirs.
pub fn seed(booted: &Booted) -> Option<[u8; abi::seed::LEN]> {
    network().and_then(|network| (network.seed)(booted))
}

/// Starts them. Called once, before the program's first thread.
pub fn start_all(booted: &Booted) {
    for service in all() {
        (service.start)(booted);
    }
}

/// Ends them, as the program ends: descriptors are closed first, as Linux does.
pub(crate) fn stop_all() {
    if let Some(network) = network() {
        crate::fd::close_all();
        (network.stop)();
    }
}
