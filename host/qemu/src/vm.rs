//! A machine to be started: its type, its size, its image.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use abi::cmdline::Settings;
use abi::exit::{DEBUG_EXIT_PORT, STATUS_PORT};

use crate::error::Error;
use crate::machine::Machine;
use crate::network::{Mac, Network, Plan};
use crate::running::{Finished, Running};
use crate::{child, tsc};

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accel {
    /// QEMU's translator: works everywhere.
    #[default]
    Tcg,
    /// The processor itself, by the host's KVM. [`crate::accel::pick`] tells whether it works.
    Kvm,
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        })
    }
}

/// A gdb server in the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gdb {
    /// TCP port on the loopback interface.
    pub port: u16,
    /// Whether the machine waits for the debugger before its first instruction.
    pub stopped: bool,
}

/// A machine to be started. All fields may be set; [`Vm::new`] gives a small machine under TCG.
#[derive(Clone, Debug)]
pub struct Vm {
    /// The QEMU program.
    pub qemu: PathBuf,
    /// Machine type.
    pub machine: Machine,
    /// Firmware in place of the machine type's own, in QEMU's words (`qboot.rom`).
    pub firmware: Option<String>,
    /// What runs the instructions.
    pub accel: Accel,
    /// CPU model, in QEMU's words (`max`, `qemu64`, `max,-erms`).
    pub cpu: String,
    /// Number of CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// The image.
    pub kernel: PathBuf,
    /// The image's command line.
    pub settings: Settings,
    /// Whether `tsc_hz` and `wall_ns` are added to the command line where `settings` leaves them open.
    pub pass_clock: bool,
    /// Whether the machine gets a fresh seed, for CPUs without randomness.
    pub pass_seed: bool,
    /// Whether the console is fed from [`Running::take_input`]. Otherwise nothing ever arrives there.
    pub input: bool,
    /// How long the machine may run.
    pub timeout: Option<Duration>,
    /// Whether an image whose time is over reports what its threads do before it ends.
    pub report_at_timeout: bool,
    /// A gdb server.
    pub gdb: Option<Gdb>,
    /// Whether what QEMU says goes to our standard error at once, instead of into the [`crate::Outcome`].
    pub show_messages: bool,
    /// What the network interface is connected to.
    pub network: Network,
    /// The interface's address; otherwise QEMU's usual one, the same for all machines.
    pub mac: Option<Mac>,
    /// Whether a device in memory (on microvm) speaks virtio as it was before version 1.
    pub legacy_virtio: bool,
    /// A file for everything that goes over the interface, in pcap format.
    pub pcap: Option<PathBuf>,
    /// More arguments for QEMU, at the end.
    pub extra: Vec<OsString>,
}

impl Vm {
    /// A machine of one CPU and 64 MiB for this image. The environment variable `QEMU` names another QEMU.
    pub fn new(kernel: impl Into<PathBuf>) -> Self {
        Self {
            qemu: program(),
            machine: Machine::default(),
            firmware: None,
            accel: Accel::default(),
            cpu: "max".to_owned(),
            cpus: 1,
            memory_mib: 64,
            kernel: kernel.into(),
            settings: Settings::default(),
            pass_clock: true,
            pass_seed: true,
            input: false,
            timeout: None,
            report_at_timeout: false,
            gdb: None,
            show_messages: false,
            network: Network::default(),
            mac: None,
            legacy_virtio: false,
            pcap: None,
            extra: Vec::new(),
        }
    }

    /// Starts the machine. It ends with the handle, and with the thread that called this.
    ///
    /// # Errors
    /// QEMU or the image is not there, a port or a tap interface cannot be used, or the host refuses a process. What QEMU itself refuses (an unknown CPU
    /// model) is an [`crate::Outcome`].
    pub fn start(&self) -> Result<Running, Error> {
        readable(&self.kernel)?;
        let network = self.network();
        network.check()?;
        let mut settings = self.settings.clone();
        settings.virtio_mmio.extend(network.virtio_mmio());
        if self.pass_clock {
            settings.tsc_hz = settings.tsc_hz.or_else(tsc::host_hz);
        }
        let (status, status_path) =
            child::memory_file("status").map_err(|e| Error::Host("cannot make the status file", e))?;
        let (seed, seed_path) = seed_file().map_err(|e| Error::Host("cannot make the seed file", e))?;
        let (stderr, _) =
            child::memory_file("stderr").map_err(|e| Error::Host("cannot make the message file", e))?;
        let child_stderr = stderr.try_clone().map_err(|e| Error::Host("cannot share the message file", e))?;

        let mut command = Command::new(&self.qemu);
        command
            .stdin(if self.input { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(if self.show_messages { Stdio::inherit() } else { Stdio::from(child_stderr) })
            // Ctrl-C reaches the foreground process group. QEMU stays out of it, so that our side decides what
            // happens: today it ends and takes QEMU along.
            .process_group(0);
        let monitor = self.report_at_timeout.then(UnixStream::pair).transpose();
        let monitor = monitor.map_err(|e| Error::Host("cannot make a way to QEMU's monitor", e))?;
        let mut keep = vec![status.as_raw_fd(), seed.as_raw_fd()];
        if let Some((_, of_qemu)) = &monitor {
            keep.push(of_qemu.as_raw_fd());
            command.args(["-chardev", &format!("socket,id=monitor,fd={}", of_qemu.as_raw_fd())]);
            command.args(["-mon", "chardev=monitor,mode=readline"]);
        }
        child::prepare(&mut command, keep);
        if self.pass_clock {
            settings.wall_ns = settings.wall_ns.or_else(wall_ns);
        }
        command.args(self.arguments(&settings, &status_path, &seed_path));

        let started = Instant::now();
        let child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoQemu(self.qemu.clone()),
            _ => Error::Host("cannot start QEMU", error),
        })?;
        let monitor = monitor.map(|(ours, _)| ours);
        Running::new(child, status, stderr, monitor, self.timeout.map(|limit| (started, limit)))
    }

    /// Runs the machine to its end and keeps what it wrote.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn run(&self) -> Result<Finished, Error> {
        let mut console = Vec::new();
        let outcome = self.start()?.pump(|bytes| {
            console.extend_from_slice(bytes);
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(Finished { outcome, console })
    }

    fn network(&self) -> Plan<'_> {
        Plan {
            network: &self.network,
            machine: self.machine,
            mac: self.mac,
            legacy: self.legacy_virtio,
            pcap: self.pcap.as_deref(),
        }
    }

    /// The arguments for QEMU.
    fn arguments(&self, settings: &Settings, status_path: &str, seed_path: &str) -> Vec<OsString> {
        let mut args = Vec::<OsString>::new();
        let mut add = |words: &[&str]| args.extend(words.iter().map(OsString::from));
        add(&["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        add(&["-machine", self.machine.option()]);
        if let Some(firmware) = &self.firmware {
            add(&["-bios", firmware]);
        }
        add(&["-accel", &self.accel.to_string(), "-cpu", &self.cpu]);
        add(&["-smp", &self.cpus.to_string(), "-m", &format!("{}M", self.memory_mib)]);
        add(&["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
        add(&["-chardev", &format!("file,id=status,path={status_path}")]);
        add(&["-device", &format!("isa-debugcon,iobase={STATUS_PORT:#x},chardev=status")]);
        if self.pass_seed {
            add(&["-fw_cfg", &format!("name={},file={seed_path}", abi::seed::FILE)]);
        }
        add(&["-device", &format!("isa-debug-exit,iobase={DEBUG_EXIT_PORT:#x},iosize=0x04")]);
        for argument in self.network().arguments() {
            add(&[&argument]);
        }
        if let Some(gdb) = self.gdb {
            add(&["-gdb", &format!("tcp:127.0.0.1:{}", gdb.port)]);
            if gdb.stopped {
                add(&["-S"]);
            }
        }
        add(&["-append", &settings.to_string(), "-kernel"]);
        args.push(self.kernel.clone().into());
        args.extend(self.extra.iter().cloned());
        args
    }
}

/// The QEMU program: what the environment variable `QEMU` names, or else `qemu-system-x86_64`.
pub fn program() -> PathBuf {
    std::env::var_os("QEMU")
        .filter(|name| !name.is_empty())
        .map_or("qemu-system-x86_64".into(), PathBuf::from)
}

fn readable(image: &Path) -> Result<(), Error> {
    File::open(image).map(drop).map_err(|error| Error::Image(image.to_owned(), error))
}

/// A file in memory with a fresh seed, and its path for the child. The command line would show it to other users.
fn seed_file() -> io::Result<(File, String)> {
    let mut seed = [0; abi::seed::LEN];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    let (mut file, path) = child::memory_file("seed")?;
    file.write_all(&seed)?;
    Ok((file, path))
}

/// Now, as nanoseconds since 1970. The guest's counter starts with QEMU.
fn wall_ns() -> Option<u64> {
    SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_nanos().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(vm: &Vm) -> Vec<String> {
        let args = vm.arguments(&vm.settings, "/proc/self/fd/9", "/proc/self/fd/10");
        args.into_iter().map(|arg| arg.into_string().unwrap()).collect()
    }

    #[test]
    fn the_command_line_is_one_argument() {
        let mut vm = Vm::new("/tmp/image");
        vm.settings.args = vec!["two words".to_owned()];
        let args = arguments(&vm);
        let append = args.iter().position(|arg| arg == "-append").unwrap();
        assert_eq!(args[append + 1], "-- \"two words\"");
        assert_eq!(args[append + 2..], ["-kernel", "/tmp/image"]);
    }

    #[test]
    fn extra_arguments_come_last() {
        let mut vm = Vm::new("/tmp/image");
        vm.extra = vec!["-d".into(), "int".into()];
        assert!(arguments(&vm).ends_with(&["-d".to_owned(), "int".to_owned()]));
    }

    #[test]
    fn a_missing_image_is_named() {
        let error = Vm::new("/nowhere/image").start().map(drop).unwrap_err();
        assert!(error.to_string().contains("/nowhere/image"), "{error}");
    }
}
