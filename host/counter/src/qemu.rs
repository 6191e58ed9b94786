//! The part of QEMU's plugin interface that the counter uses, version 4 (`qemu-plugin.h` of QEMU 9.2 to 10.1).
//!
//! Debian ships no header, so the declarations are written here. The rest of the crate sees the safe types below
//! them: handles that live as long as the callback they were given to, and scoreboards that are never freed.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;

/// The version of the interface that this file declares.
pub const VERSION: c_int = 4;

/// `qemu_plugin_id_t`.
pub type PluginId = u64;
/// `qemu_plugin_meminfo_t`.
pub type MemInfo = u32;

/// `qemu_info_t`.
#[repr(C)]
pub struct Info {
    /// Name of the guest architecture.
    pub target_name: *const c_char,
    /// Oldest version of the interface that this QEMU accepts.
    pub version_min: c_int,
    /// Version of the interface that this QEMU offers.
    pub version_cur: c_int,
    /// False where QEMU runs a single process.
    pub system_emulation: bool,
    /// CPUs at start; only with `system_emulation`.
    pub smp_vcpus: c_int,
    /// CPUs at most; only with `system_emulation`.
    pub max_vcpus: c_int,
}

/// `struct qemu_plugin_scoreboard`: a record for each virtual CPU.
#[repr(C)]
struct Scoreboard {
    _opaque: [u8; 0],
}
#[repr(C)]
struct RawBlock {
    _opaque: [u8; 0],
}
#[repr(C)]
struct RawInstruction {
    _opaque: [u8; 0],
}
#[repr(C)]
struct RawHwaddr {
    _opaque: [u8; 0],
}

/// `qemu_plugin_u64`: one 64-bit number in the record of each virtual CPU.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Entry {
    score: *mut Scoreboard,
    offset: usize,
}

// SAFETY: `score` is a handle; QEMU's functions on it may be called from any of its threads.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

/// `QEMU_PLUGIN_INLINE_ADD_U64`.
const INLINE_ADD_U64: c_int = 0;
/// `QEMU_PLUGIN_CB_NO_REGS`.
const CB_NO_REGS: c_int = 0;
/// `QEMU_PLUGIN_MEM_RW`.
const MEM_RW: c_int = 3;

/// `qemu_plugin_vcpu_udata_cb_t`.
pub type ExecCallback = unsafe extern "C" fn(vcpu: c_uint, data: *mut c_void);
/// `qemu_plugin_vcpu_mem_cb_t`.
pub type MemCallback = unsafe extern "C" fn(vcpu: c_uint, info: MemInfo, vaddr: u64, data: *mut c_void);
/// `qemu_plugin_vcpu_tb_trans_cb_t`. The pointer is what [`Block::new`] takes.
pub type TranslateCallback = unsafe extern "C" fn(id: PluginId, block: *mut c_void);
/// `qemu_plugin_udata_cb_t`.
pub type ExitCallback = unsafe extern "C" fn(id: PluginId, data: *mut c_void);

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: PluginId, cb: TranslateCallback);
    fn qemu_plugin_register_atexit_cb(id: PluginId, cb: ExitCallback, data: *mut c_void);
    fn qemu_plugin_tb_n_insns(block: *const RawBlock) -> usize;
    fn qemu_plugin_tb_vaddr(block: *const RawBlock) -> u64;
    fn qemu_plugin_tb_get_insn(block: *const RawBlock, index: usize) -> *mut RawInstruction;
    fn qemu_plugin_insn_data(insn: *const RawInstruction, dest: *mut c_void, len: usize) -> usize;
    fn qemu_plugin_insn_size(insn: *const RawInstruction) -> usize;
    fn qemu_plugin_insn_vaddr(insn: *const RawInstruction) -> u64;
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        insn: *mut RawInstruction,
        cb: ExecCallback,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
        insn: *mut RawInstruction,
        op: c_int,
        entry: Entry,
        value: u64,
    );
    fn qemu_plugin_register_vcpu_mem_cb(
        insn: *mut RawInstruction,
        cb: MemCallback,
        flags: c_int,
        rw: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_mem_size_shift(info: MemInfo) -> c_uint;
    fn qemu_plugin_mem_is_store(info: MemInfo) -> bool;
    fn qemu_plugin_get_hwaddr(info: MemInfo, vaddr: u64) -> *mut RawHwaddr;
    fn qemu_plugin_hwaddr_is_io(hwaddr: *const RawHwaddr) -> bool;
    fn qemu_plugin_scoreboard_new(size: usize) -> *mut Scoreboard;
    fn qemu_plugin_u64_add(entry: Entry, vcpu: c_uint, value: u64);
    fn qemu_plugin_u64_get(entry: Entry, vcpu: c_uint) -> u64;
    fn qemu_plugin_u64_set(entry: Entry, vcpu: c_uint, value: u64);
    fn qemu_plugin_u64_sum(entry: Entry) -> u64;
}

/// Calls `callback` for each block that is translated from now on.
pub fn on_translate(id: PluginId, callback: TranslateCallback) {
    // SAFETY: `id` came from `qemu_plugin_install`; the callback's type is the declared one.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, callback) }
}

/// Calls `callback` when QEMU exits.
pub fn on_exit(id: PluginId, callback: ExitCallback) {
    // SAFETY: as in `on_translate`; the callback is given a null pointer and knows it.
    unsafe { qemu_plugin_register_atexit_cb(id, callback, std::ptr::null_mut()) }
}

/// Makes a scoreboard of `count` numbers for each virtual CPU, all 0, which is never freed.
pub fn entries(count: usize) -> impl Iterator<Item = Entry> {
    // SAFETY: no precondition; QEMU aborts where memory is short.
    let score = unsafe { qemu_plugin_scoreboard_new(count * size_of::<u64>()) };
    (0..count).map(move |index| Entry { score, offset: index * size_of::<u64>() })
}

impl Entry {
    /// Adds to the number of `vcpu`, which came from a callback.
    pub fn add(self, vcpu: c_uint, value: u64) {
        // SAFETY: `entries` made this entry inside of a scoreboard that is never freed; QEMU checks `vcpu`.
        unsafe { qemu_plugin_u64_add(self, vcpu, value) }
    }

    /// The number of `vcpu`, which came from a callback.
    pub fn get(self, vcpu: c_uint) -> u64 {
        // SAFETY: as in `add`.
        unsafe { qemu_plugin_u64_get(self, vcpu) }
    }

    /// Replaces the number of `vcpu`, which came from a callback.
    pub fn set(self, vcpu: c_uint, value: u64) {
        // SAFETY: as in `add`.
        unsafe { qemu_plugin_u64_set(self, vcpu, value) }
    }

    /// The sum over all virtual CPUs.
    pub fn sum(self) -> u64 {
        // SAFETY: as in `add`.
        unsafe { qemu_plugin_u64_sum(self) }
    }
}

/// A block being translated.
pub struct Block<'a> {
    raw: *mut RawBlock,
    _callback: PhantomData<&'a ()>,
}

impl<'a> Block<'a> {
    /// Takes the pointer that a [`TranslateCallback`] was given.
    ///
    /// # Safety
    /// `raw` is that pointer, and `'a` ends before the callback returns.
    pub unsafe fn new(raw: *mut c_void) -> Self {
        Self { raw: raw.cast(), _callback: PhantomData }
    }

    /// Virtual address of the first instruction.
    pub fn address(&self) -> u64 {
        // SAFETY: the handle is live, by the contract of `new`.
        unsafe { qemu_plugin_tb_vaddr(self.raw) }
    }

    /// The block's instructions, in order.
    pub fn instructions(&self) -> impl Iterator<Item = Instruction<'a>> {
        let raw = self.raw;
        // SAFETY: the handle is live, by the contract of `new`.
        let count = unsafe { qemu_plugin_tb_n_insns(raw) };
        (0..count).map(move |index| Instruction {
            // SAFETY: as above, and `index` is below the count.
            raw: unsafe { qemu_plugin_tb_get_insn(raw, index) },
            _callback: PhantomData,
        })
    }
}

/// An instruction being translated.
pub struct Instruction<'a> {
    raw: *mut RawInstruction,
    _callback: PhantomData<&'a ()>,
}

/// No x86 instruction is longer (SDM vol. 2, § 2.3.11).
pub const MAX_INSTRUCTION_LEN: usize = 15;

impl Instruction<'_> {
    /// Virtual address.
    pub fn address(&self) -> u64 {
        // SAFETY: the handle is live: it came from a live block and shares its lifetime.
        unsafe { qemu_plugin_insn_vaddr(self.raw) }
    }

    /// Copies the instruction's octets into `buffer` and returns them.
    pub fn octets<'b>(&self, buffer: &'b mut [u8; MAX_INSTRUCTION_LEN]) -> &'b [u8] {
        // SAFETY: the handle is live, see `address`.
        let size = unsafe { qemu_plugin_insn_size(self.raw) }.min(buffer.len());
        // SAFETY: as above; at most `size` octets are written, and `buffer` holds as many.
        let len = unsafe { qemu_plugin_insn_data(self.raw, buffer.as_mut_ptr().cast(), size) };
        &buffer[..len.min(size)]
    }

    /// Adds 1 to `entry` each time the instruction is entered.
    pub fn count(&self, entry: Entry) {
        // SAFETY: the handle is live, see `address`; scoreboards are never freed.
        unsafe { qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(self.raw, INLINE_ADD_U64, entry, 1) }
    }

    /// Calls `callback` with `data` each time the instruction is entered, in the order of registration.
    pub fn on_execute<T: Sync>(&self, callback: ExecCallback, data: &'static T) {
        let data = std::ptr::from_ref(data).cast_mut().cast();
        // SAFETY: the handle is live, see `address`; `data` lives for ever.
        unsafe { qemu_plugin_register_vcpu_insn_exec_cb(self.raw, callback, CB_NO_REGS, data) }
    }

    /// Calls `callback` with `data` for each load and store of the instruction.
    pub fn on_access<T: Sync>(&self, callback: MemCallback, data: &'static T) {
        let data = std::ptr::from_ref(data).cast_mut().cast();
        // SAFETY: as in `on_execute`.
        unsafe { qemu_plugin_register_vcpu_mem_cb(self.raw, callback, CB_NO_REGS, MEM_RW, data) }
    }
}

/// A load or a store. Lives as long as the [`MemCallback`] that was told of it.
pub struct Access<'a> {
    info: MemInfo,
    vaddr: u64,
    _callback: PhantomData<&'a ()>,
}

impl Access<'_> {
    /// Takes what a [`MemCallback`] was given.
    ///
    /// # Safety
    /// `info` and `vaddr` are its arguments, and the lifetime ends before the callback returns.
    pub unsafe fn new(info: MemInfo, vaddr: u64) -> Self {
        Self { info, vaddr, _callback: PhantomData }
    }

    /// Octets moved.
    pub fn len(&self) -> u64 {
        // SAFETY: `info` is valid, by the contract of `new`.
        1 << unsafe { qemu_plugin_mem_size_shift(self.info) }
    }

    /// Whether it is a store.
    pub fn is_store(&self) -> bool {
        // SAFETY: `info` is valid, by the contract of `new`.
        unsafe { qemu_plugin_mem_is_store(self.info) }
    }

    /// Whether it reaches a device instead of RAM.
    pub fn is_device(&self) -> bool {
        // SAFETY: the callback is running, by the contract of `new`, which is all that the call asks for.
        let hwaddr = unsafe { qemu_plugin_get_hwaddr(self.info, self.vaddr) };
        // SAFETY: the handle is valid until the callback returns.
        !hwaddr.is_null() && unsafe { qemu_plugin_hwaddr_is_io(hwaddr) }
    }
}
