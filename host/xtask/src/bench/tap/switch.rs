//! [`Tap`]: where frames leave Linux and enter it; and the loop that carries them between two of them.

use super::impairment::Path;
use super::namespace::{Namespace, ip};
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// Octets of the longest frame.
const FRAME: usize = 14 + 1500;
/// For how long the loop sleeps at most: then it looks whether it is needed.
const NAP: Duration = Duration::from_millis(5);

/// A tap device that stands in a namespace.
pub struct Tap {
    device: SyncDevice,
    buffer: Vec<u8>,
}

/// The hardware address of whoever has this address.
pub fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [2, 0, a, b, c, d]
}

impl Tap {
    /// Makes a device with `address` for the namespace, whose neighbour is at `other`.
    pub fn new(name: &str, namespace: &Namespace, address: Ipv4Addr, other: Ipv4Addr) -> Result<Self> {
        let device = DeviceBuilder::new().name(name).layer(Layer::L2).build_sync();
        let device = device.with_context(|| format!("tap device {name} (this needs root)"))?;
        device.set_nonblocking(true)?;
        let text = |mac: [u8; 6]| mac.map(|octet| format!("{octet:02x}")).join(":");
        ip(&["link", "set", name, "netns", namespace.name()])?;
        namespace.ip(&["link", "set", name, "address", &text(mac_of(address)), "mtu", "1500"])?;
        namespace.ip(&["addr", "add", &format!("{address}/24"), "dev", name])?;
        namespace.ip(&["link", "set", name, "up"])?;
        let lladdr = text(mac_of(other));
        namespace.ip(&["neigh", "replace", &other.to_string(), "lladdr", &lladdr, "dev", name])?;
        Ok(Self { device, buffer: vec![0; FRAME + 64] })
    }

    /// The next frame that Linux sends. `None`: there is none.
    pub fn receive(&mut self) -> Option<&[u8]> {
        let len = self.device.recv(&mut self.buffer).ok()?;
        self.buffer.get(..len)
    }

    /// Gives Linux a frame; where it has no room it is lost, as on a wire.
    pub fn send(&self, frame: &[u8]) {
        let _ = self.device.send(frame);
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// Forgets what Linux has sent.
    pub fn discard(&mut self) {
        while self.receive().is_some() {}
    }
}

/// Sleeps until one of the devices has a frame, or until `deadline`; not for long.
pub fn wait(taps: &[&Tap], deadline: Option<Instant>) {
    let now = Instant::now();
    let nap = deadline.map_or(NAP, |deadline| deadline.saturating_duration_since(now).min(NAP));
    let timeout = Timespec { tv_sec: 0, tv_nsec: nap.subsec_nanos().into() };
    let mut fds: Vec<_> = taps.iter().map(|tap| PollFd::from_borrowed_fd(tap.fd(), PollFlags::IN)).collect();
    // An interruption is a short nap.
    let _ = poll(&mut fds, Some(&timeout));
}

/// Carries frames between two devices, `paths[0]` from the first to the second, while `meanwhile` runs in another thread.
pub fn between<T: Send>(
    first: &mut Tap,
    second: &mut Tap,
    paths: &mut [Path; 2],
    meanwhile: impl FnOnce() -> T + Send,
) -> T {
    let done = AtomicBool::new(false);
    first.discard();
    second.discard();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let result = meanwhile();
            done.store(true, Ordering::Release);
            result
        });
        while !done.load(Ordering::Acquire) {
            let now = Instant::now();
            while let Some(frame) = first.receive() {
                paths[0].put(now, frame);
            }
            while let Some(frame) = second.receive() {
                paths[1].put(now, frame);
            }
            let now = Instant::now();
            while let Some(frame) = paths[0].take(now) {
                second.send(&frame);
            }
            while let Some(frame) = paths[1].take(now) {
                first.send(&frame);
            }
            let next = paths.iter().filter_map(Path::next_arrival).min();
            wait(&[first, second], next);
        }
        match other.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
