//! Which services a linked program uses: who calls the functions of libc that need one.
//!
//! That such a function is in a program says nothing: the panic handler of every std program opens files to name the functions of a
//! backtrace, and libc opens its own. So the calls are followed backwards, from libc's function through the standard library to
//! whoever began. If that is the program, or anything that is not known to do without, the service is used. What is not
//! understood counts as a use: then an image is larger than it need be, and never lacks anything.
//!
//! Calls are found without decoding instructions, by four octets behind what can be an operation's: taken as a distance from their
//! end, they meet a function's first octet, or the place in the global offset table that holds its address; or they are the address.
//! That others do so by chance is rare, and costs no more than space.

use std::cell::LazyCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use abi::service::Service;
use iced_x86::{Decoder, DecoderOptions};
use object::read::archive::ArchiveFile;
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SymbolKind, elf};
use rustc_demangle::try_demangle;

/// Functions of libc, and the services they need. A name stands for itself and for itself with `64` behind it.
const NEEDS: &[(&[Service], &[&str])] = &[
    (
        &[Service::Files],
        &[
            "open",
            "openat",
            "creat",
            "fopen",
            "freopen",
            "tmpfile",
            "mkstemp",
            "mkostemp",
            "mkstemps",
            "mkostemps",
            "mkdtemp",
            "shm_open",
            "memfd_create",
            "shm_unlink",
            "sem_open",
            "opendir",
            "scandir",
            "ftw",
            "nftw",
            "fts_open",
            "glob",
            "stat",
            "lstat",
            "fstatat",
            "statx",
            "__xstat",
            "__lxstat",
            "__fxstatat",
            "access",
            "faccessat",
            "euidaccess",
            "eaccess",
            "readlink",
            "readlinkat",
            "realpath",
            "canonicalize_file_name",
            "chdir",
            "fchdir",
            "mkdir",
            "mkdirat",
            "rmdir",
            "unlink",
            "unlinkat",
            "remove",
            "rename",
            "renameat",
            "renameat2",
            "link",
            "linkat",
            "symlink",
            "symlinkat",
            "mknod",
            "mknodat",
            "mkfifo",
            "mkfifoat",
            "chmod",
            "fchmod",
            "fchmodat",
            "chown",
            "lchown",
            "fchown",
            "fchownat",
            "utime",
            "utimes",
            "lutimes",
            "futimes",
            "futimesat",
            "utimensat",
            "futimens",
            "truncate",
            "ftruncate",
            "statfs",
            "fstatfs",
            "statvfs",
            "fstatvfs",
            "umask",
            "flock",
            "lockf",
            "sendfile",
            "copy_file_range",
            "fallocate",
            "posix_fallocate",
            "sync",
            "syncfs",
            "getpwnam",
            "getpwnam_r",
            "getpwuid",
            "getpwuid_r",
            "getpwent",
            "getgrnam",
            "getgrnam_r",
            "getgrgid",
            "getgrgid_r",
            "getservbyname",
            "getservbyname_r",
            "getservbyport",
            "getservbyport_r",
            "getprotobyname",
            "getmntent",
            "setmntent",
        ],
    ),
    // Names of hosts are asked for by way of the network, and /etc says where.
    (
        &[Service::Files, Service::Net],
        &[
            "getaddrinfo",
            "getnameinfo",
            "gethostbyname",
            "gethostbyname_r",
            "gethostbyname2",
            "gethostbyname2_r",
            "gethostbyaddr",
            "gethostbyaddr_r",
            "res_init",
            "res_query",
            "res_search",
        ],
    ),
    (&[Service::Pipes], &["pipe", "pipe2", "popen"]),
    (
        &[Service::Events],
        &["epoll_create", "epoll_create1", "eventfd", "timerfd_create", "signalfd", "select", "pselect"],
    ),
    (&[Service::Timers], &["timer_create", "setitimer", "getitimer", "alarm", "ualarm"]),
    (
        &[Service::Scheduling],
        &[
            "sched_setscheduler",
            "sched_getscheduler",
            "sched_setparam",
            "sched_getparam",
            "sched_get_priority_max",
            "sched_get_priority_min",
            "sched_rr_get_interval",
            "setpriority",
            "getpriority",
            "nice",
            "pthread_setschedparam",
            "pthread_getschedparam",
            "pthread_setschedprio",
            "pthread_attr_setschedpolicy",
            "pthread_attr_setschedparam",
            "pthread_attr_setinheritsched",
            "pthread_mutexattr_setprioceiling",
        ],
    ),
    (&[Service::Futexes], &["pthread_mutexattr_setprotocol"]),
];

/// Functions of the standard library that look for files and do without. None of them is generic: the program's code is never
/// in one.
const DO_WITHOUT: &[&str] = &[
    // Names the functions of a backtrace, if the program's file is there.
    "std::sys::backtrace::_print",
    // Opens /dev/null in place of a standard descriptor that is closed; none is.
    "std::rt::lang_start_internal",
    "std::rt::init",
    // Asks for a limit of CPUs (cgroups); there is none.
    "std::thread::available_parallelism",
    "std::thread::functions::available_parallelism",
    "std::sys::thread::unix::",
    "std::sys::pal::unix::thread::",
    // A name that the kernel knows without files.
    "std::env::current_exe",
    "std::sys::paths::unix::current_exe",
];

/// The standard library's own modules of this kind: also what is generic and was made for them.
const DO_WITHOUT_INSIDE: &[&str] = &[
    "std::backtrace_rs::",
    // Opens /dev/urandom where getrandom(2) is missing; it is not.
    "std::sys::random::",
];

/// System calls that are carried out in every image, whoever makes them without libc's function for it: getrandom(2), gettid(2),
/// getpid(2), sched_yield(2), exit(2), membarrier(2).
const ALWAYS_THERE: [u32; 6] = [318, 186, 39, 24, 60, 324];
/// futex(2), for which libc has no function.
const FUTEX: u32 = 202;
/// futex_waitv(2).
const FUTEX_WAITV: u32 = 449;

/// The instruction `syscall`.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// The kernel's sections are not the program's.
const KERNEL_SECTIONS: [&str; 2] = ["ktext", "kvdso"];

/// Services that a linked program uses and does not hold. An empty list if it is no image.
///
/// `file_of` finds a file of the linker's (`libc.a`) by its name; `folders` are where the Rust
/// libraries lie that were linked, std's among them.
pub fn services(
    elf: &[u8],
    file_of: &dyn Fn(&str) -> Option<PathBuf>,
    folders: &BTreeSet<PathBuf>,
) -> Vec<Service> {
    let Ok(file) = object::File::parse(elf) else { return Vec::new() };
    if !is_image(&file) {
        return Vec::new();
    }
    let Some(program) = Program::read(&file) else { return Service::ALL.into() };
    let held = |service: Service| program.addresses.contains_key(service.symbol());
    let own = libc_functions(file_of);
    let of_std = LazyCell::new(|| std_functions(folders));
    let raw = program.raw_calls(&own, &|name| of_std.contains(name));
    // Their names are in the tree of files.
    let makes_local_sockets = program.makes_local_sockets(&own);
    let is_used = |service: Service| match (raw, service) {
        (Raw::Unknown, _) | (Raw::Futex, Service::Futexes) => true,
        (_, Service::Local | Service::Files) if makes_local_sockets => true,
        _ => program.uses(service, &own),
    };
    Service::ALL.into_iter().filter(|&service| !held(service) && is_used(service)).collect()
}

fn is_image(file: &object::File<'_>) -> bool {
    file.section_by_name("ktext").is_some()
}

/// The names of libc's functions.
fn libc_functions(file_of: &dyn Fn(&str) -> Option<PathBuf>) -> HashSet<String> {
    // Up to glibc 2.33 threads were a library of their own. The compiler's library unwinds.
    let archives = ["libc.a", "libpthread.a", "libgcc_eh.a", "libgcc.a"].into_iter().filter_map(file_of);
    archives.flat_map(functions_of).collect()
}

/// The names of the functions that the standard library holds compiled. Those of its generic functions that a program has made
/// for itself are not among them.
fn std_functions(folders: &BTreeSet<PathBuf>) -> HashSet<String> {
    let files = folders.iter().filter_map(|folder| folder.read_dir().ok()).flatten().filter_map(Result::ok);
    let is_of_std = |file: &PathBuf| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".rlib")
            && ["libstd-", "libcore-", "liballoc-"].iter().any(|start| name.starts_with(start))
    };
    files.map(|file| file.path()).filter(is_of_std).flat_map(functions_of).collect()
}

/// The names of the functions in an archive. None if it cannot be read.
fn functions_of(archive: PathBuf) -> HashSet<String> {
    let mut names = HashSet::new();
    let Ok(octets) = std::fs::read(archive) else { return names };
    let Ok(archive) = ArchiveFile::parse(&*octets) else { return names };
    for member in archive.members().filter_map(Result::ok) {
        let Ok(file) = member.data(&*octets).and_then(object::File::parse) else { continue };
        let functions =
            file.symbols().filter(|symbol| symbol.is_definition() && symbol.kind() == SymbolKind::Text);
        names.extend(functions.filter_map(|symbol| Some(symbol.name().ok()?.to_owned())));
    }
    names
}

/// A function, by its first address.
struct Function<'a> {
    start: u64,
    names: Vec<&'a str>,
}

/// Who a function belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// libc, or what is known to do without services.
    DoesWithout,
    /// The standard library: whoever calls it decides.
    Library,
    /// The program.
    Program,
}

/// System calls that a program makes without libc's functions for them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Raw {
    /// None, but for some that are in every image.
    None,
    /// futex(2), perhaps with operations that only a service has.
    Futex,
    /// Any.
    Unknown,
}

/// A linked program.
struct Program<'a> {
    /// In order of their addresses.
    functions: Vec<Function<'a>>,
    addresses: HashMap<&'a str, u64>,
    /// Code, by address.
    code: Vec<(u64, &'a [u8])>,
    /// Places of the global offset table, and what they hold.
    table: HashMap<u64, u64>,
    /// Constants and data, by address.
    data: Vec<(u64, &'a [u8])>,
    /// Addresses that are in data.
    taken: HashSet<u64>,
}

impl<'a> Program<'a> {
    /// `None`: it has no symbols, or its sections cannot be read.
    fn read(file: &object::File<'a>) -> Option<Self> {
        let (mut code, mut constants) = (Vec::new(), Vec::new());
        let (mut table, mut taken) = (HashMap::new(), HashSet::new());
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
            let name = section.name().ok()?;
            if !sh_flags.contains(elf::SHF_ALLOC) || KERNEL_SECTIONS.contains(&name) {
                continue;
            }
            let data = section.data().ok()?;
            if sh_flags.contains(elf::SHF_EXECINSTR) {
                code.push((section.address(), data));
                continue;
            }
            constants.push((section.address(), data));
            let words =
                data.chunks_exact(8).filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)));
            if name.starts_with(".got") {
                table.extend((section.address()..).step_by(8).zip(words));
            } else {
                taken.extend(words);
            }
        }
        let in_code = |address: u64| {
            code.iter().any(|(start, octets)| (*start..start + octets.len() as u64).contains(&address))
        };
        let mut by_address: HashMap<u64, Vec<&'a str>> = HashMap::new();
        let mut addresses = HashMap::new();
        for symbol in
            file.symbols().filter(|symbol| symbol.is_definition() && symbol.kind() == SymbolKind::Text)
        {
            let name = symbol.name().ok()?;
            if in_code(symbol.address()) {
                by_address.entry(symbol.address()).or_default().push(name);
            }
            addresses.insert(name, symbol.address());
        }
        if by_address.is_empty() {
            return None;
        }
        let mut functions: Vec<_> =
            by_address.into_iter().map(|(start, names)| Function { start, names }).collect();
        functions.sort_by_key(|function| function.start);
        Some(Self { functions, addresses, code, data: constants, table, taken })
    }

    /// Whether the program calls, by whatever way, a function that needs a service.
    fn uses(&self, service: Service, libc: &HashSet<String>) -> bool {
        let needs = NEEDS.iter().filter(|(services, _)| services.contains(&service));
        let names = needs
            .flat_map(|(_, names)| names.iter())
            .flat_map(|name| [(*name).to_owned(), format!("{name}64")]);
        let start: HashSet<u64> =
            names.filter_map(|name| self.addresses.get(name.as_str()).copied()).collect();
        let mut seen = start.clone();
        let mut next = start;
        while !next.is_empty() {
            if next.iter().any(|function| self.taken.contains(function)) {
                return true;
            }
            let mut callers = HashSet::new();
            for caller in self.callers(&next) {
                match owner(&self.functions[caller].names, libc) {
                    Owner::Program => return true,
                    Owner::Library => {
                        callers.insert(self.functions[caller].start);
                    }
                    Owner::DoesWithout => {}
                }
            }
            next = callers.difference(&seen).copied().collect();
            seen.extend(&next);
        }
        false
    }

    /// The functions that refer to one of these, by their places in the list.
    fn callers(&self, targets: &HashSet<u64>) -> HashSet<usize> {
        let slots = self.table.iter().filter(|(_, held)| targets.contains(held)).map(|(slot, _)| *slot);
        let places: HashSet<u64> = targets.iter().copied().chain(slots).collect();
        let (Some(low), Some(high)) = (places.iter().min(), places.iter().max()) else {
            return HashSet::new();
        };
        let hit = |address: u64| (*low..=*high).contains(&address) && places.contains(&address);
        let mut callers = HashSet::new();
        for (start, octets) in &self.code {
            for (at, word) in octets.windows(4).enumerate() {
                let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                let address = start + at as u64;
                let before = &octets[at.saturating_sub(8)..at];
                let distance = (address + 4).wrapping_add_signed(i64::from(word as i32));
                if hit(distance) && may_be_distance(before) || hit(u64::from(word)) && may_be_address(before)
                {
                    callers.extend(self.function_at(address).filter(|&index| {
                        let function = &self.functions[index];
                        !targets.contains(&function.start)
                            && !self.is_start_of_std(function, &octets[..at], address)
                    }));
                }
            }
        }
        callers
    }

    /// Whether a call is the one by which std's start opens /dev/null ([`DO_WITHOUT`]), inlined into `main`. `before` are the
    /// octets before the call's distance, which is at `at`.
    fn is_start_of_std(&self, function: &Function<'_>, before: &[u8], at: u64) -> bool {
        const PATH: &[u8] = b"/dev/null\0";
        let is_there = |path: u64| {
            self.data.iter().any(|(start, octets)| {
                let offset = path.checked_sub(*start).and_then(|offset| usize::try_from(offset).ok());
                offset.and_then(|offset| octets.get(offset..)).is_some_and(|octets| octets.starts_with(PATH))
            })
        };
        function.names.contains(&"main") && path_before(before, at).is_some_and(is_there)
    }

    /// Which system calls the program makes by itself, or by their numbers. `is_std` knows the names of std's compiled functions.
    fn raw_calls(&self, libc: &HashSet<String>, is_std: &dyn Fn(&str) -> bool) -> Raw {
        let owner = |index: usize| owner(&self.functions[index].names, libc);
        // In a generic function of std that was made for the program may be what the program has written.
        let is_program = |index: usize| match owner(index) {
            Owner::Program => true,
            Owner::Library => !self.functions[index].names.iter().any(|name| is_std(name)),
            Owner::DoesWithout => false,
        };
        // Std makes its calls by libc: where one of its functions, a generic one, has the instruction it is the program's.
        let is_not_libcs = |index: usize| owner(index) != Owner::DoesWithout;
        // The instruction: which calls those are, nobody knows.
        for (start, octets) in &self.code {
            let places = octets.windows(2).enumerate().filter(|(_, pair)| *pair == SYSCALL);
            let mut places = places.map(|(at, _)| start + at as u64);
            let is_call = |at| {
                self.function_at(at)
                    .is_some_and(|index| is_not_libcs(index) && self.has_instruction(index, at))
            };
            if places.any(is_call) {
                return Raw::Unknown;
            }
        }
        let Some(&syscall) = self.addresses.get("syscall") else { return Raw::None };
        if self.taken.contains(&syscall) {
            return Raw::Unknown;
        }
        let slots = self.table.iter().filter(|(_, held)| **held == syscall).map(|(slot, _)| *slot);
        let targets: Vec<u64> = slots.chain([syscall]).collect();
        let mut raw = Raw::None;
        for (start, octets) in &self.code {
            for (at, word) in octets.windows(4).enumerate() {
                let distance = i64::from(i32::from_le_bytes([word[0], word[1], word[2], word[3]]));
                let address = start + at as u64;
                if !targets.contains(&(address + 4).wrapping_add_signed(distance))
                    || !self.function_at(address).is_some_and(is_program)
                {
                    continue;
                }
                match constant_before(&octets[..at], &MOV_EDI) {
                    Some(number) if ALWAYS_THERE.contains(&number) => {}
                    Some(FUTEX) if is_wait_or_wake(&octets[..at]) => {}
                    Some(FUTEX | FUTEX_WAITV) => raw = Raw::Futex,
                    _ => return Raw::Unknown,
                }
            }
        }
        raw
    }

    /// Whether an instruction of a function begins at an address: octets in the middle of one may look like another.
    fn has_instruction(&self, function: usize, at: u64) -> bool {
        let start = self.functions[function].start;
        let Some((base, octets)) =
            self.code.iter().find(|(base, octets)| (*base..base + octets.len() as u64).contains(&start))
        else {
            return false;
        };
        let octets = octets.get((start - base) as usize..).unwrap_or_default();
        let mut decoder = Decoder::with_ip(64, octets, start, DecoderOptions::NONE);
        while decoder.ip() < at && decoder.can_decode() {
            let _ = decoder.decode();
        }
        decoder.ip() == at
    }

    /// Whether a call of socket(2), but for libc's own, may be one for `AF_UNIX`: the family is not another one for certain.
    fn makes_local_sockets(&self, libc: &HashSet<String>) -> bool {
        const AF_UNIX: u32 = 1;
        let Some(&socket) = self.addresses.get("socket") else { return false };
        if self.taken.contains(&socket) {
            return true;
        }
        let slots = self.table.iter().filter(|(_, held)| **held == socket).map(|(slot, _)| *slot);
        let targets: Vec<u64> = slots.chain([socket]).collect();
        let is_not_libcs = |index: usize| owner(&self.functions[index].names, libc) != Owner::DoesWithout;
        self.code.iter().any(|(start, octets)| {
            octets.windows(4).enumerate().any(|(at, word)| {
                let distance = i64::from(i32::from_le_bytes([word[0], word[1], word[2], word[3]]));
                let address = start + at as u64;
                targets.contains(&(address + 4).wrapping_add_signed(distance))
                    && may_be_distance(&octets[at.saturating_sub(8)..at])
                    && self.function_at(address).is_some_and(is_not_libcs)
                    && constant_before(&octets[..at], &MOV_EDI).is_none_or(|family| family == AF_UNIX)
            })
        })
    }

    /// The function that an address is in.
    fn function_at(&self, address: u64) -> Option<usize> {
        self.functions.partition_point(|function| function.start <= address).checked_sub(1)
    }
}

/// Whether a distance may follow these octets of an instruction: a call, a jump, or an operand relative to it.
fn may_be_distance(before: &[u8]) -> bool {
    match *before {
        [.., 0x0f, 0x80..=0x8f] | [.., 0xe8 | 0xe9] => true,
        [.., modrm] => modrm & 0xc7 == 5,
        [] => false,
    }
}

/// Whether an address may follow these octets of an instruction: a constant for a register, for the stack, or for memory.
fn may_be_address(before: &[u8]) -> bool {
    const MOV_TO_MEMORY: u8 = 0xc7;
    matches!(before, [.., 0xb8..=0xbf | 0x68]) || before.contains(&MOV_TO_MEMORY)
}

/// As far as compilers put an argument before the call.
const REACH: usize = 64;
/// `mov edi, constant`: a call's first argument.
const MOV_EDI: [u8; 1] = [0xbf];
/// `mov edx, constant`: its third.
const MOV_EDX: [u8; 1] = [0xba];
/// `lea rdi, [rip + distance]`.
const LEA_RDI: [u8; 3] = [0x48, 0x8d, 0x3d];

/// Whether a call of futex(2) that is about to be made is one that is carried out in every image.
fn is_wait_or_wake(octets: &[u8]) -> bool {
    /// FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET.
    const OPERATIONS: [u32; 4] = [0, 1, 9, 10];
    const PRIVATE: u32 = 128;
    const CLOCK_REALTIME: u32 = 256;
    let operation =
        constant_before(octets, &MOV_EDX).map(|operation| operation & !(PRIVATE | CLOCK_REALTIME));
    operation.is_some_and(|operation| OPERATIONS.contains(&operation))
}

/// The constant that an instruction put last into a register, a small one.
fn constant_before(octets: &[u8], instruction: &[u8]) -> Option<u32> {
    const MOST: u32 = 0xffff;
    last_operand(octets, instruction).map(|(_, constant)| constant).filter(|constant| *constant <= MOST)
}

/// The address that was put last into the first argument of a call whose own operand follows `octets`, at `at`.
fn path_before(octets: &[u8], at: u64) -> Option<u64> {
    let absolute = last_operand(octets, &MOV_EDI).map(|(place, address)| (place, u64::from(address)));
    let relative = last_operand(octets, &LEA_RDI).map(|(place, distance)| {
        let behind = at - octets.len() as u64 + place as u64 + 4;
        (place, behind.wrapping_add_signed(i64::from(distance as i32)))
    });
    absolute.max(relative).map(|(_, address)| address)
}

/// Place and value of the four octets behind the last of such instructions.
fn last_operand(octets: &[u8], instruction: &[u8]) -> Option<(usize, u32)> {
    let from = octets.len().saturating_sub(REACH);
    let near = &octets[from..];
    let is_it = |window: &[u8]| window.starts_with(instruction);
    let at = near.windows(instruction.len() + 4).rposition(is_it)? + instruction.len();
    let operand = near.get(at..at + 4)?;
    Some((from + at, u32::from_le_bytes(operand.try_into().ok()?)))
}

fn owner(names: &[&str], libc: &HashSet<String>) -> Owner {
    let demangled = names.iter().find_map(|name| try_demangle(name).ok());
    let Some(name) = demangled.map(|name| format!("{name:#}")) else {
        let known = names
            .iter()
            .any(|name| libc.contains(*name) || libc.contains(name.split('.').next().unwrap_or(name)));
        return if known { Owner::DoesWithout } else { Owner::Program };
    };
    let path = name.trim_start_matches(['<', '&', '(', '[', '*']).trim_start_matches("mut ");
    if DO_WITHOUT.iter().any(|start| path.starts_with(start)) {
        return Owner::DoesWithout;
    }
    let is_of = |start: &&str| {
        path.starts_with(*start) || path.contains(" as ") && path.contains(&format!(" as {start}"))
    };
    if !["std::", "core::", "alloc::", "__rustc::"].iter().any(is_of) {
        Owner::Program
    } else if DO_WITHOUT_INSIDE.iter().any(|module| name.contains(module)) {
        Owner::DoesWithout
    } else {
        Owner::Library
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_by_name() {
        let libc = HashSet::from(["open64".to_owned(), "open_path.isra.0".to_owned()]);
        let owner = |name: &str| owner(&[name], &libc);
        assert!(owner("open64") == Owner::DoesWithout);
        assert!(owner("open_path.isra.0") == Owner::DoesWithout);
        assert!(owner("unixOpen") == Owner::Program);
        assert!(owner("_ZN3std2fs11OpenOptions5_open17h0123456789abcdefE") == Owner::Library);
        assert!(owner("_ZN3std3env11current_exe17h0123456789abcdefE") == Owner::DoesWithout);
        assert!(owner("_ZN5hello4main17h0123456789abcdefE") == Owner::Program);
        let generic = "_ZN3std3sys9backtrace28__rust_begin_short_backtrace17h0123456789abcdefE";
        assert!(owner(generic) == Owner::Library, "the program's code may be in it");
    }

    #[test]
    fn arguments_are_the_last_constants() {
        let code = [0xbf, 1, 0, 0, 0, 0xba, 0x81, 0, 0, 0, 0xbf, 0xca, 0, 0, 0, 0x31, 0xc0, 0xff, 0x15];
        assert_eq!(constant_before(&code, &MOV_EDI), Some(FUTEX));
        assert!(is_wait_or_wake(&code));
        assert_eq!(constant_before(&[0x31, 0xff], &MOV_EDI), None);
        // mov edi, 0x107d7d; call ...: the distance is at 0x1006.
        assert_eq!(path_before(&[0xbf, 0x7d, 0x7d, 0x10, 0, 0xe8], 0x1006), Some(0x10_7d7d));
        // lea rdi, [rip + 0x10]; call ...
        assert_eq!(path_before(&[0x48, 0x8d, 0x3d, 0x10, 0, 0, 0, 0xe8], 0x1008), Some(0x1017));
    }
}
