//! Bringing the network up: devices, addresses, name servers.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use abi::cmdline::VirtioMmio;
use kernel::arch::current::paging::PAGE_SIZE;
use kernel::device::net::NetDevice;
use kernel::entry::Booted;
use kernel::exit::refuse;
use kernel::mm::packets;
use kernel::sched::{self, Wake};
use kernel::{log, random, time};
use net::config::{Config, InterfaceConfig};
use net::iface::Origin;
use net::route::Route;
use net::{IfaceId, Key, ProbeTiming, Settings, Stack};
use sync::Once;

use crate::pass;

/// Name servers and host name as they were set by hand.
struct Fixed {
    name_servers: Vec<core::net::Ipv4Addr>,
}

static FIXED: Once<Fixed> = Once::new();

#[cfg(includeos_metal)]
#[expect(unsafe_code, reason = "the symbol by which this crate finds devices; it does not know the drivers")]
mod platform {
    use super::{Box, NetDevice, VirtioMmio};

    unsafe extern "Rust" {
        /// `os/object`: brings up all network devices.
        pub safe fn network_devices(
            mmio: &[VirtioMmio],
            joins: bool,
            found: &mut dyn FnMut(Box<dyn NetDevice>),
        );
        /// `os/object`: asks entropy devices.
        pub safe fn device_seed(mmio: &[VirtioMmio]) -> Option<[u8; abi::seed::LEN]>;
    }
}
#[cfg(not(includeos_metal))]
mod platform {
    use super::{Box, NetDevice, VirtioMmio};

    pub fn network_devices(_: &[VirtioMmio], _: bool, _: &mut dyn FnMut(Box<dyn NetDevice>)) {}

    pub fn device_seed(_: &[VirtioMmio]) -> Option<[u8; abi::seed::LEN]> {
        None
    }
}

/// A seed from a virtio-rng device, if the machine has one.
pub fn seed(booted: &Booted) -> Option<[u8; abi::seed::LEN]> {
    platform::device_seed(&booted.settings.virtio_mmio)
}

/// Brings the network up: called at boot if this service is in the image. An interface without a setting of its own is
/// configured by DHCP; the program does not wait for it.
pub fn start(booted: &Booted) {
    let mut config = Config::default();
    for word in &booted.settings.net {
        if let Err(error) = config.set(word) {
            refuse(format_args!("{error}"));
        }
    }
    let mut key = [[0; 8]; 2];
    if key.iter_mut().any(|word| random::fill(word).is_err()) {
        refuse(format_args!(
            "the network needs randomness: the CPU has neither RDRAND nor RDSEED, and the host passed no seed; \
             choose another CPU (--cpu max)"
        ));
    }
    packets::init();
    let mut settings = Settings::new(Key(key.map(u64::from_le_bytes)));
    settings.forwarding = config.forwarding;
    settings.max_flows = max_flows();
    pass::init(settings);

    let mut names: Vec<(String, IfaceId)> = Vec::new();
    // A router sends on what came, not what a device made of it.
    let joins = !config.forwarding;
    platform::network_devices(&booted.settings.virtio_mmio, joins, &mut |device| {
        let name = text(format_args!("eth{}", names.len()));
        if let Some(Some(iface)) = pass::with(|net| net.add_device(&name, device)) {
            names.push((name, iface));
        }
    });
    let name_servers =
        config.interfaces.iter().flat_map(|iface| iface.name_servers.iter().copied()).collect();
    let _ = FIXED.set(Fixed { name_servers });
    write_resolv_conf(&[], None);
    linux::files::etc::set_wait_for_servers(wait_for_address);
    for wanted in &config.interfaces {
        if !names.iter().any(|(name, _)| *name == wanted.device) {
            let there: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
            refuse(format_args!(
                "network: \"net.{}\": there is no such interface; there are: {}",
                wanted.device,
                if there.is_empty() { "none".into() } else { there.join(", ") }
            ));
        }
    }
    let host_name = config.host_name.as_deref().unwrap_or_default();
    for (name, iface) in &names {
        let mut wanted = config.interfaces.iter().filter(|wanted| wanted.device == *name).peekable();
        if wanted.peek().is_none() {
            start_dhcp(*iface, host_name, ProbeTiming::FAST);
        }
        for wanted in wanted {
            configure(*iface, host_name, wanted);
        }
    }
}

/// Connections that the kernel can have at most: whoever opens them from afar must not use up its memory. What it keeps for
/// itself is a sixteenth of RAM (`mm::space`), and a connection takes less than 4 KiB besides its data.
fn max_flows() -> usize {
    const BYTES: u64 = 4096;
    const SHARE: u64 = 16;
    let free = kernel::mm::frames::free_count() * PAGE_SIZE;
    (free / SHARE / BYTES).clamp(64, 65_536) as usize
}

/// DHCP was started and has not given an address yet.
static AWAITED: AtomicBool = AtomicBool::new(false);
/// How long a program waits for DHCP, in nanoseconds from the machine's start.
const PATIENCE_NS: u64 = 4_000_000_000;

/// Waits until DHCP has given an address, if it is under way, but not for longer than a server that is there needs. A program may
/// well be faster than DHCP, and would take "no route" for an answer; Linux' programs are started when the network is there.
pub fn wait_for_address() {
    const STEP_NS: u64 = 2_000_000;
    while AWAITED.load(Ordering::Relaxed) && time::now_ns() < PATIENCE_NS {
        sched::prepare_wait();
        if sched::wait(Some(time::now_ns() + STEP_NS)) == Wake::Notified {
            return;
        }
    }
}

fn start_dhcp(iface: IfaceId, host_name: &str, probe: ProbeTiming) {
    AWAITED.store(true, Ordering::Relaxed);
    pass::with(|net| {
        net.stack.set_probe_timing(iface, probe);
        net.stack.start_dhcp(iface, host_name, None, pass::now());
    });
}

/// Sets an interface, or a VLAN of it, up as it was asked for.
fn configure(device: IfaceId, host_name: &str, wanted: &InterfaceConfig) {
    let name = match wanted.vlan {
        None => wanted.device.clone(),
        Some(vlan) => text(format_args!("{}.{}", wanted.device, vlan.get())),
    };
    let iface = match wanted.vlan {
        None => Some(device),
        Some(vlan) => pass::with(|net| net.stack.add_vlan(name.as_str(), device, vlan).ok()).flatten(),
    };
    let Some(iface) = iface else { refuse(format_args!("network: \"net.{name}\": too many interfaces")) };
    let probe = wanted.probe.unwrap_or(if wanted.dhcp { ProbeTiming::FAST } else { ProbeTiming::NONE });
    pass::with(|net| {
        net.stack.set_probe_timing(iface, probe);
        net.stack.set_mtu_limit(iface, wanted.mtu);
    });
    for &address in &wanted.addresses {
        if let Some(Err(error)) = pass::with(|net| net.stack.add_address(iface, address, pass::now())) {
            refuse(format_args!("network: \"net.{name}\": {address}: {error:?}"));
        }
    }
    if let Some(gateway) = wanted.gateway {
        let route = Route {
            network: core::net::Ipv4Addr::UNSPECIFIED,
            prefix_len: 0,
            gateway: Some(gateway),
            iface,
            metric: 0,
            mtu: None,
            source: None,
            origin: Origin::Static,
        };
        if pass::with(|net| net.stack.add_route(route, pass::now())) != Some(true) {
            refuse(format_args!("network: \"net.{name}\": gw={gateway}: the routing table is full"));
        }
    }
    if wanted.dhcp {
        start_dhcp(iface, host_name, probe);
    }
}

/// An interface got a lease, or lost it, or it changed. In the network pass.
pub fn on_lease(stack: &Stack, iface: IfaceId) {
    let Some(interface) = stack.interface(iface) else { return };
    match interface.dhcp().and_then(|client| client.lease()) {
        Some(lease) => {
            log!(Info, "{}: {} by DHCP", interface.name(), lease.address);
            let domain = core::str::from_utf8(&lease.domain).ok().filter(|domain| !domain.is_empty());
            write_resolv_conf(&lease.name_servers, domain);
            AWAITED.store(false, Ordering::Relaxed);
        }
        None => {
            log!(Warn, "{}: the DHCP lease is lost", interface.name());
            write_resolv_conf(&[], None);
        }
    }
}

/// Writes what /etc/resolv.conf says: name servers that were set by hand before those that were learnt.
fn write_resolv_conf(learnt: &[core::net::Ipv4Addr], domain: Option<&str>) {
    let fixed = FIXED.get().map_or(&[][..], |fixed| &fixed.name_servers);
    let mut text = String::new();
    if let Some(domain) = domain {
        let _ = writeln!(text, "search {domain}");
    }
    for server in fixed.iter().chain(learnt) {
        let _ = writeln!(text, "nameserver {server}");
    }
    linux::files::etc::set_resolv_conf(text);
}

/// A text of its own. (`format!` of the prebuilt library unwinds, which the kernel's object must not.)
fn text(words: fmt::Arguments<'_>) -> String {
    let mut text = String::new();
    let _ = text.write_fmt(words);
    text
}
