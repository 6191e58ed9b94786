//! The plugin: places the counters when a block is translated, reads them when a window ends.

use crate::args::Args;
use crate::opcode::{Class, Kind, Mark};
use crate::qemu::{self, Access, Block, Entry, Info, Instruction, MemInfo, PluginId};
use crate::report::{Counts, Line, Progress, SECTION};
use crate::slots::{Counted, Slots};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The version of the interface that QEMU checks before it calls `qemu_plugin_install`.
// SAFETY: QEMU looks this name up in the library and expects an `int` there.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = qemu::VERSION;

static COUNTER: OnceLock<Counter> = OnceLock::new();

struct Counter {
    args: Args,
    entries: Entries,
    /// Blocks translated so far.
    blocks: AtomicU64,
    /// Taken when a block is translated and when a window's edge is executed; QEMU's own locks are taken inside.
    state: Mutex<State>,
}

/// The numbers that each virtual CPU has of its own.
struct Entries {
    instructions: Entry,
    string_bytes: Entry,
    ports: Entry,
    mmio: Entry,
    /// Address of the last `rep` instruction.
    rep_address: Entry,
    /// `instructions` as it stood just after that one was counted.
    rep_instructions: Entry,
}

#[derive(Default)]
struct State {
    windows: Vec<WindowState>,
    /// Those of the program's marks, in the order of their starts.
    sections: Vec<WindowState>,
    slots: Slots,
    hist_before: Vec<u64>,
    hist_after: Option<Vec<u64>>,
}

#[derive(Clone, Copy, Default)]
struct WindowState {
    start: Option<Counts>,
    end: Option<Counts>,
}

/// What the callbacks of one instruction need to know. Made when it is translated, never freed.
struct Site {
    class: Class,
    address: u64,
    mark: Option<Mark>,
    /// The histogram's counters, where one was asked for.
    instructions_at: Option<Entry>,
    ports_at: Option<Entry>,
    mmio_at: Option<Entry>,
}

/// Called by QEMU when it loads the plugin.
///
/// # Safety
/// `info` points to a valid record and `argv` to `argc` C strings, all live during the call.
// SAFETY: QEMU looks this name up in the library and expects this signature.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: PluginId,
    info: *const Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: the caller vouches for `info`.
    let info = unsafe { &*info };
    // SAFETY: the caller vouches for it; QEMU's target names are C strings.
    let target = unsafe { CStr::from_ptr(info.target_name) };
    if !matches!(target.to_bytes(), b"x86_64" | b"i386") || !info.system_emulation {
        eprintln!("counter: only x86 machines can be counted; use qemu-system-x86_64");
        return 1;
    }
    let arguments = (0..usize::try_from(argc).unwrap_or(0)).map(|index| {
        // SAFETY: the caller vouches for `argc` pointers behind `argv`, each to a C string.
        unsafe { CStr::from_ptr(*argv.add(index)) }.to_str().unwrap_or("not UTF-8")
    });
    match Args::parse(arguments) {
        Ok(args) => {
            let _ = COUNTER.set(Counter::new(args));
            qemu::on_translate(id, translate);
            qemu::on_exit(id, exit);
            0
        }
        Err(error) => {
            eprintln!("counter: {error}");
            1
        }
    }
}

unsafe extern "C" fn translate(_id: PluginId, block: *mut c_void) {
    // SAFETY: `block` is this callback's argument, and the handle does not outlive the call.
    let block = unsafe { Block::new(block) };
    counter().translate(&block);
}

unsafe extern "C" fn exit(_id: PluginId, _data: *mut c_void) {
    let counter = counter();
    counter.write(&mut counter.lock());
}

unsafe extern "C" fn on_edge(_vcpu: c_uint, site: *mut c_void) {
    // SAFETY: `Instruction::on_execute` was given a `&'static Site`.
    let site = unsafe { &*site.cast_const().cast::<Site>() };
    counter().pass_edge(site);
}

unsafe extern "C" fn on_repeated(vcpu: c_uint, site: *mut c_void) {
    // SAFETY: as in `on_edge`.
    let site = unsafe { &*site.cast_const().cast::<Site>() };
    counter().entries.enter_repeated(vcpu, site);
}

unsafe extern "C" fn on_access(vcpu: c_uint, info: MemInfo, vaddr: u64, site: *mut c_void) {
    // SAFETY: `Instruction::on_access` was given a `&'static Site`.
    let site = unsafe { &*site.cast_const().cast::<Site>() };
    // SAFETY: both are this callback's arguments, and the value does not outlive the call.
    let access = unsafe { Access::new(info, vaddr) };
    counter().access(vcpu, &access, site);
}

fn counter() -> &'static Counter {
    COUNTER.get().expect("set before any callback is registered")
}

impl Counter {
    fn new(args: Args) -> Self {
        let windows = vec![WindowState::default(); args.windows.len()];
        let state = Mutex::new(State { windows, ..State::default() });
        Self { args, entries: Entries::new(), blocks: AtomicU64::new(0), state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn translate(&self, block: &Block<'_>) {
        self.blocks.fetch_add(1, Ordering::Relaxed); // a number to be shown, nothing depends on it
        let mut state = self.lock();
        let hist = self.args.hist.is_some();
        let block_address = block.address();
        let instructions_at = hist.then(|| state.slots.entry(Counted::Instructions, block_address));
        for instruction in block.instructions() {
            self.place(&instruction, instructions_at, &mut state.slots);
        }
    }

    /// Places the counters of one instruction. What is registered first runs first.
    fn place(&self, instruction: &Instruction<'_>, instructions_at: Option<Entry>, slots: &mut Slots) {
        let address = instruction.address();
        let mut buffer = [0; qemu::MAX_INSTRUCTION_LEN];
        let octets = instruction.octets(&mut buffer);
        let (class, mark) = (Class::of(octets), Mark::of(octets));
        let is_edge = mark.is_some()
            || self.args.windows.iter().any(|window| address == window.from || address == window.to);
        let hist = self.args.hist.is_some();
        let is_port = class.kind == Kind::Port;
        let is_string = matches!(class.kind, Kind::StringStore | Kind::StringLoad);
        let counts_accesses = is_string || self.args.mmio && !is_port;

        let ports_at = (hist && is_port).then(|| slots.entry(Counted::Ports, address));
        let mmio_at = (hist && counts_accesses).then(|| slots.entry(Counted::Mmio, address));
        let site: &'static Site =
            Box::leak(Box::new(Site { class, address, mark, instructions_at, ports_at, mmio_at }));

        if is_edge {
            instruction.on_execute(on_edge, site);
        }
        instruction.count(self.entries.instructions);
        if let Some(entry) = instructions_at {
            instruction.count(entry);
        }
        if class.repeated {
            instruction.on_execute(on_repeated, site);
        } else if is_port {
            instruction.count(self.entries.ports);
            if let Some(entry) = ports_at {
                instruction.count(entry);
            }
        }
        if counts_accesses {
            instruction.on_access(on_access, site);
        }
    }

    fn access(&self, vcpu: c_uint, access: &Access<'_>, site: &Site) {
        let counted = match site.class.kind {
            Kind::StringStore => access.is_store(),
            Kind::StringLoad => !access.is_store(),
            Kind::Plain | Kind::Port => false,
        };
        if counted {
            self.entries.string_bytes.add(vcpu, access.len());
        }
        if self.args.mmio && access.is_device() {
            self.entries.mmio.add(vcpu, 1);
            if let Some(entry) = site.mmio_at {
                entry.add(vcpu, 1);
            }
        }
    }

    /// An instruction at which a window or a section starts or ends is about to be executed.
    fn pass_edge(&self, site: &Site) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let now = self.counts();
        if let Some(mark) = site.mark {
            self.pass_mark(mark, now, state);
        }
        let address = site.address;
        let mut ended = false;
        for (index, (window, passed)) in self.args.windows.iter().zip(&mut state.windows).enumerate() {
            if passed.start.is_none() && address == window.from {
                passed.start = Some(now);
                if index == 0 {
                    state.hist_before = state.slots.counts();
                }
            } else if passed.start.is_some() && passed.end.is_none() && address == window.to {
                passed.end = Some(now);
                ended = true;
                if index == 0 {
                    state.hist_after = Some(state.slots.counts());
                }
            }
        }
        if ended {
            self.write(&mut guard);
        }
    }

    fn pass_mark(&self, mark: Mark, now: Counts, state: &mut State) {
        // The histogram is the first window's, or where there is none the first section's.
        let has_hist = self.args.hist.is_some() && self.args.windows.is_empty();
        match (mark, state.sections.as_mut_slice()) {
            (Mark::Start, sections) => {
                if has_hist && sections.is_empty() {
                    state.hist_before = state.slots.counts();
                }
                state.sections.push(WindowState { start: Some(now), end: None });
            }
            (Mark::End, [.., last]) if last.end.is_none() => {
                last.end = Some(now);
                if has_hist && state.hist_after.is_none() {
                    state.hist_after = Some(state.slots.counts());
                }
            }
            // An end without a start says nothing.
            (Mark::End, _) => {}
        }
    }

    fn counts(&self) -> Counts {
        let Entries { instructions, string_bytes, ports, mmio, .. } = &self.entries;
        Counts {
            instructions: instructions.sum(),
            string_bytes: string_bytes.sum(),
            ports: ports.sum(),
            mmio: mmio.sum(),
            blocks: self.blocks.load(Ordering::Relaxed),
        }
    }

    fn write(&self, state: &mut State) {
        let now = self.counts();
        let mut text = Line { window: "total", progress: Progress::Closed, counts: now }.to_string();
        let names = self.args.windows.iter().map(|window| window.name.as_str());
        let windows = names.zip(&state.windows);
        for (window, passed) in windows.chain(state.sections.iter().map(|section| (SECTION, section))) {
            let (progress, counts) = match (passed.start, passed.end) {
                (None, _) => (Progress::Unopened, Counts::default()),
                (Some(start), None) => (Progress::Open, now - start),
                (Some(start), Some(end)) => (Progress::Closed, end - start),
            };
            text += &Line { window, progress, counts }.to_string();
        }
        save(&self.args.out, &text);
        if let Some(path) = &self.args.hist {
            let after = state.hist_after.clone().unwrap_or_else(|| state.slots.counts());
            save(path, &state.slots.text(&state.hist_before, &after));
        }
    }
}

impl Entries {
    fn new() -> Self {
        let mut entries = qemu::entries(6);
        let mut entry = || entries.next().expect("six were made");
        Self {
            instructions: entry(),
            string_bytes: entry(),
            ports: entry(),
            mmio: entry(),
            rep_address: entry(),
            rep_instructions: entry(),
        }
    }

    /// A `rep` instruction was entered, and counted already. Takes that back where it only goes on: it was the last
    /// instruction that this CPU entered.
    fn enter_repeated(&self, vcpu: c_uint, site: &Site) {
        let instructions = self.instructions.get(vcpu);
        let goes_on = self.rep_address.get(vcpu) == site.address
            && self.rep_instructions.get(vcpu).wrapping_add(1) == instructions;
        if goes_on {
            self.instructions.set(vcpu, instructions.wrapping_sub(1));
            if let Some(entry) = site.instructions_at {
                entry.add(vcpu, 1_u64.wrapping_neg());
            }
            return;
        }
        self.rep_address.set(vcpu, site.address);
        self.rep_instructions.set(vcpu, instructions);
        if site.class.kind == Kind::Port {
            self.ports.add(vcpu, 1);
            if let Some(entry) = site.ports_at {
                entry.add(vcpu, 1);
            }
        }
    }
}

fn save(path: &Path, text: &str) {
    if let Err(error) = std::fs::write(path, text) {
        eprintln!("counter: {}: {error}", path.display());
    }
}
