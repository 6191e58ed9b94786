//! A Linux guest that runs one static program: Debian's cloud kernel, the program as its init.
//!
//! The kernel is a package of the machine's own sources, unpacked in the folder of build products and not installed.

use super::cpio::Archive;
use crate::repo;
use anyhow::{Context, Result, bail};
use qemu::{Machine, Vm};
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Depends on the release's present cloud kernel.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// What the kernel is told. Copies by vector registers or `movsq` instead of `rep movsb`, which TCG runs slowly; no
/// mitigations; the time-stamp counter as clock; messages only of what goes wrong; QEMU ends when the program does (init's end is a
/// panic, a panic restarts, and `-no-reboot` ends).
const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=1 panic=-1 clearcpuid=rep_good mitigations=off tsc=reliable rdinit=/init --";

/// What drives a virtio network interface on PCI, in the order in which they need each other.
const NETWORK_MODULES: [&str; 8] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "net/core/failover.ko",
    "drivers/net/net_failover.ko",
    "drivers/net/virtio_net.ko",
];

/// The kernel, unpacked.
pub struct Linux {
    kernel: PathBuf,
    folder: PathBuf,
    /// Its package, with its version.
    pub name: String,
}

impl Linux {
    /// Downloads and unpacks the kernel where that was not done before.
    pub fn prepare() -> Result<Self> {
        let folder = repo::target_dir().join("bench/linux");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        if kernel_in(&folder).is_err() {
            let depends = repo::output(Command::new("apt-cache").args(["depends", META_PACKAGE])).context(
                "the Linux kernel to compare with is a Debian package; on other systems, use --no-linux",
            )?;
            let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
            let package =
                package.with_context(|| format!("apt knows no {META_PACKAGE}; try `apt-get update`"))?;
            eprintln!("bench: downloading {package}");
            repo::output(Command::new("apt-get").args(["-q", "download", package]).current_dir(&folder))?;
            let mut files = entries(&folder)?.into_iter();
            let file = files.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
            let file = file.with_context(|| format!("apt-get left no package in {}", folder.display()))?;
            repo::output(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&folder))?;
        }
        let kernel = kernel_in(&folder)?;
        let version = kernel.file_name().and_then(|name| name.to_str()?.strip_prefix("vmlinuz-"));
        let name = version.unwrap_or("of unknown version").to_owned();
        Ok(Self { kernel, folder, name })
    }

    /// A machine whose init is this program.
    pub fn guest(&self, program: &Path, args: &[String]) -> Result<Vm> {
        self.boot(Archive::default(), program, args)
    }

    /// A machine with a network interface and its address; `init`, the program `netinit`, sets it up and starts the program.
    pub fn guest_with_network(&self, init: &Path, address: (Ipv4Addr, u8), program: &Path) -> Result<Vm> {
        let mut archive = Archive::default();
        archive.folder("modules");
        let modules = self.folder.join("lib/modules").join(&self.name).join("kernel");
        for (n, module) in NETWORK_MODULES.iter().enumerate() {
            let file = modules.join(module);
            let content = fs::read(&file).with_context(|| file.display().to_string())?;
            archive.program(&format!("modules/{n:02}"), &content);
        }
        archive.program("program", &fs::read(program).with_context(|| program.display().to_string())?);
        self.boot(archive, init, &[address.0.to_string(), address.1.to_string(), "/program".to_owned()])
    }

    fn boot(&self, mut archive: Archive, init: &Path, args: &[String]) -> Result<Vm> {
        archive.folder("dev");
        archive.device("dev/console", 5, 1);
        archive.program("init", &fs::read(init).with_context(|| init.display().to_string())?);
        let file = self.folder.join("initramfs");
        fs::write(&file, archive.finish()).with_context(|| file.display().to_string())?;
        let mut vm = Vm::new(&self.kernel);
        vm.machine = Machine::Q35;
        // Of two `-append` QEMU takes the last: the first is an image's.
        let command_line = format!("{COMMAND_LINE} {}", args.join(" "));
        vm.extra = vec!["-append".into(), command_line.into(), "-initrd".into(), file.into()];
        Ok(vm)
    }
}

/// The one kernel in an unpacked package.
fn kernel_in(folder: &Path) -> Result<PathBuf> {
    let is_kernel = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("vmlinuz-"))
    };
    let boot = folder.join("boot");
    match entries(&boot)?.into_iter().find(is_kernel) {
        Some(kernel) => Ok(kernel),
        None => bail!("no kernel in {}", boot.display()),
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || folder.display().to_string();
    let entries = fs::read_dir(folder).with_context(context)?;
    entries.map(|entry| Ok(entry.with_context(context)?.path())).collect()
}
