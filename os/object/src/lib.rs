//! The prelinked kernel object: where kernel, drivers and operating system meet.
//!
//! Built as a static library with `--cfg includeos_metal`, then made into one relocatable object whose symbols are all
//! local (host/cargo-includeos/build.rs). Without the cfg there is nothing here.

#![cfg_attr(includeos_metal, no_std)]
#![cfg(includeos_metal)]

extern crate alloc;

// Services are found by their records; this is what puts them into the archive.
use sockets as _;

/// Where the boot stub arrives, on the boot stack, with the monitor's start info.
#[unsafe(no_mangle)]
extern "C" fn includeos_main(start_info: u64) -> ! {
    kernel::console::register(drivers::uart::init());
    // SAFETY: the first and only call, with what the stub got; a console is registered.
    let booted = unsafe { kernel::entry::boot(start_info) };
    linux::start::run(&booted)
}

/// Brings up all network devices; `os/sockets` calls it, if the image holds that.
#[unsafe(no_mangle)]
fn network_devices(
    mmio: &[abi::cmdline::VirtioMmio],
    joins: bool,
    found: &mut dyn FnMut(alloc::boxed::Box<dyn kernel::device::net::NetDevice>),
) {
    drivers::virtio::probe_net(mmio, joins, found);
}

/// Asks entropy devices for a seed; `os/sockets` calls it, if the image holds that.
#[unsafe(no_mangle)]
fn device_seed(mmio: &[abi::cmdline::VirtioMmio]) -> Option<[u8; abi::seed::LEN]> {
    drivers::virtio::read_seed(mmio)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    kernel::report::kernel_panic(info)
}

/// Where functions of the prebuilt library, inlined here, would go on after a panic. The kernel's panics end the image first.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    unreachable!("the kernel does not unwind")
}
