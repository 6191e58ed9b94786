//! Boots images.

use std::io::Write;
use std::ops::ControlFlow;
use std::time::Duration;

use abi::cmdline::Settings;
use abi::report::PREFIX;
pub use qemu::Machine;
use qemu::{Network, Outcome, Vm};

use crate::image::Image;

/// Far longer than any boot takes: it ends a machine that hangs, and measures nothing.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The machine types that every behaviour is looked at on.
pub const MACHINES: [Machine; 2] = [Machine::Q35, Machine::Microvm];

/// Both settings of `isolation`: the program at the kernel's ring, and at ring 3.
pub const ISOLATION: [bool; 2] = [false, true];
/// The machines on which a program has to do what it does on Linux: type and number of CPUs.
const SAME_ON: [(Machine, u32); 4] =
    [(Machine::Q35, 1), (Machine::Microvm, 1), (Machine::Q35, 2), (Machine::Microvm, 4)];

/// A machine that is to boot an image: q35, `-cpu max`, 64 MiB, unless said otherwise.
#[derive(Clone, Debug)]
pub struct Boot {
    vm: Vm,
    input: Option<Vec<u8>>,
}

/// A machine that ran to its end.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The console.
    pub console: String,
    /// How it ended.
    pub outcome: Outcome,
}

impl Boot {
    /// A machine for `image`.
    pub fn new(image: &Image) -> Self {
        let mut vm = Vm::new(&image.path);
        vm.machine = Machine::Q35;
        vm.timeout = Some(TIMEOUT);
        vm.settings.argv0 = image.path.file_name().map(|name| name.to_string_lossy().into_owned());
        Self { vm, input: None }
    }

    /// Another machine type.
    pub fn machine(mut self, machine: Machine) -> Self {
        self.vm.machine = machine;
        self
    }

    /// Another CPU model, in QEMU's words.
    pub fn cpu(mut self, cpu: &str) -> Self {
        cpu.clone_into(&mut self.vm.cpu);
        self
    }

    /// Another number of CPUs.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.vm.cpus = cpus;
        self
    }

    /// Another amount of memory.
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.vm.memory_mib = mib;
        self
    }

    /// Another amount of memory, by the KiB.
    pub fn memory_kib(self, kib: u32) -> Self {
        self.qemu(&["-m", &format!("{kib}K")])
    }

    /// Arguments for the program.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.vm.settings.args = args.iter().map(|&arg| arg.to_owned()).collect();
        self
    }

    /// Variables for the program, `NAME=VALUE`.
    pub fn env(mut self, env: &[&str]) -> Self {
        self.vm.settings.env = env.iter().map(|&variable| variable.to_owned()).collect();
        self
    }

    /// Whether the program runs at ring 3.
    pub fn isolation(mut self, on: bool) -> Self {
        self.vm.settings.isolation = Some(on);
        self
    }

    /// More settings of the image, as they stand on its command line.
    pub fn settings(mut self, line: &str) -> Self {
        let settings = Settings::parse(line).expect("the test's settings are right");
        self.vm.settings = settings.before(self.vm.settings);
        self
    }

    /// Without the seed that the host hands over.
    pub fn without_seed(mut self) -> Self {
        self.vm.pass_seed = false;
        self
    }

    /// More arguments for QEMU. The last of an option counts.
    pub fn qemu(mut self, args: &[&str]) -> Self {
        self.vm.extra.extend(args.iter().map(Into::into));
        self
    }

    /// What the console is fed with, once the program reads it.
    pub fn input(mut self, input: &[u8]) -> Self {
        self.vm.input = true;
        self.input = Some(input.to_owned());
        self
    }

    /// The machine, and where the program runs, for messages.
    pub fn describe(&self) -> String {
        let Vm { machine, cpu, cpus, memory_mib, .. } = &self.vm;
        let isolation = if self.vm.settings.isolation == Some(true) { "on" } else { "off" };
        format!("{machine} {cpu} {cpus} CPUs {memory_mib} MiB isolation={isolation}")
    }

    /// With a network interface.
    pub fn network(mut self, network: Network) -> Self {
        self.vm.network = network;
        self
    }

    /// Boots, and waits for the end.
    #[track_caller]
    pub fn run(&self) -> Ended {
        self.run_watched(|_| ())
    }

    /// As [`Self::run`]; `watch` sees the console each time that something was added.
    #[track_caller]
    pub fn run_watched(&self, mut watch: impl FnMut(&str)) -> Ended {
        let mut console = Vec::new();
        let mut running = match self.vm.start() {
            Ok(running) => running,
            Err(error) => panic!("{error}; all that the tests need is installed by `cargo xtask setup`"),
        };
        let feeder = self.input.clone().zip(running.take_input()).map(|(octets, mut input)| {
            // The machine may end before it has read everything.
            std::thread::spawn(move || input.wait_ready() && input.write_all(&octets).is_ok())
        });
        let outcome = running.pump(|octets| {
            console.extend_from_slice(octets);
            watch(&String::from_utf8_lossy(&console));
            ControlFlow::Continue(())
        });
        feeder.map(|feeder| feeder.join().expect("the feeder does not panic"));
        let outcome = outcome.expect("the host can watch QEMU");
        Ended { console: String::from_utf8_lossy(&console).into_owned(), outcome }
    }

    /// Boots, and expects the image to end itself with `status`. Returns the console.
    #[track_caller]
    pub fn expect(&self, status: u8) -> Ended {
        let ended = self.run();
        assert_eq!(ended.outcome, Outcome::Exited(status), "on {}:\n{}", self.describe(), ended.console);
        ended
    }
}

impl Ended {
    /// The console without the kernel's own lines.
    pub fn programs(&self) -> String {
        self.console.split_inclusive('\n').filter(|line| !line.starts_with(PREFIX)).collect()
    }

    /// The kernel's own lines, without their mark.
    pub fn kernels(&self) -> Vec<&str> {
        self.console.lines().filter_map(|line| line.strip_prefix(PREFIX)).collect()
    }
}

/// Boots an image on every machine type, in both modes unless `boot` names one, and expects `status`; `look` sees how each ended.
#[track_caller]
pub fn everywhere(boot: &Boot, status: u8, look: impl Fn(&Ended)) {
    for machine in MACHINES {
        in_both_modes(&boot.clone().machine(machine), status, &look);
    }
}

/// As [`everywhere`], and with several CPUs.
#[track_caller]
pub fn on_any_number_of_cpus(boot: &Boot, status: u8, look: impl Fn(&Ended)) {
    for (machine, cpus) in SAME_ON {
        in_both_modes(&boot.clone().machine(machine).cpus(cpus), status, &look);
    }
}

#[track_caller]
fn in_both_modes(boot: &Boot, status: u8, look: impl Fn(&Ended)) {
    for isolation in ISOLATION {
        if boot.vm.settings.isolation.is_none_or(|named| named == isolation) {
            let boot = boot.clone().isolation(isolation);
            // Shown if the test fails: what `look` finds is about this one.
            println!("on {}:", boot.describe());
            look(&boot.expect(status));
        }
    }
}
