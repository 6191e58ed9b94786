//! Builds an image and boots it.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, IsTerminal, Read, Write};
use std::ops::ControlFlow;

use abi::cmdline::Settings;
use anyhow::{Context, Result, ensure};
use qemu::{Accel, Input, Mac, Network, Outcome, Vm};

use crate::build::{self, Image, display_path};
use crate::cli::{AccelChoice, MachineOptions, Run};
use crate::console::{Console, Style};
use crate::symbols::Symbols;
use crate::ui;

const MIB: u64 = 1024 * 1024;

/// `cargo includeos run`: the exit status is the image's.
pub fn command(run: &Run) -> Result<u8> {
    let image = build::one(&run.selection)?;
    let backtrace = Backtrace::choose(&run.machine.envs, std::env::var("RUST_BACKTRACE").ok().as_deref());
    let mut vm = machine(&image, &run.machine, backtrace, !run.selection.quiet)?;
    vm.timeout = run.timeout;
    vm.input = true;
    if !run.selection.quiet {
        ui::status("Booting", format!("{} on {}, {}", display_path(&image.path), vm.machine, vm.accel));
    }
    let outcome = stream(&vm, &image, backtrace)?;
    match &outcome {
        Outcome::Exited(_) => {}
        outcome => ui::error(outcome),
    }
    Ok(outcome.status())
}

/// The machine that the options describe.
pub fn machine(image: &Image, options: &MachineOptions, backtrace: Backtrace, may_talk: bool) -> Result<Vm> {
    // Firmware that cannot load an image loops without a word.
    let least = image.load_end.div_ceil(MIB);
    ensure!(
        u64::from(options.memory) >= least,
        "{} MiB are too little: the image alone occupies the first {least} MiB; remedy: `-m {}M` or more",
        options.memory,
        least + 1
    );
    let mut vm = Vm::new(&image.path);
    vm.machine = options.machine;
    vm.cpu.clone_from(&options.cpu);
    vm.cpus = options.cpus;
    vm.memory_mib = options.memory;
    vm.network = options.network().map_err(anyhow::Error::msg)?;
    vm.mac = options.mac.or_else(|| match vm.network {
        // Several machines may be on the host's network.
        Network::Tap(_) => Some(Mac::of_qemu(RandomState::new().hash_one(std::process::id()) as u32)),
        _ => None,
    });
    vm.pcap.clone_from(&options.pcap);
    vm.extra = options.qemu.iter().flat_map(|words| words.split_whitespace()).map(Into::into).collect();
    // Who asks QEMU to log wants to read it.
    vm.show_messages = !vm.extra.is_empty();
    vm.report_at_timeout = true;
    vm.settings = settings(image, options, backtrace);
    vm.accel = match options.accel {
        AccelChoice::Tcg => Accel::Tcg,
        AccelChoice::Kvm => Accel::Kvm,
        AccelChoice::Auto => {
            let pick = qemu::accel::pick(|| {
                if may_talk && io::stderr().is_terminal() {
                    ui::status("Probing", "whether KVM works here (once until the next boot)");
                }
            })?;
            pick.accel
        }
    };
    Ok(vm)
}

/// The image's command line.
fn settings(image: &Image, options: &MachineOptions, backtrace: Backtrace) -> Settings {
    let mut env: Vec<String> =
        options.envs.iter().filter(|env| !env.starts_with("RUST_BACKTRACE=")).cloned().collect();
    env.extend(backtrace.variables(&options.envs));
    let settings = Settings {
        argv0: image.path.file_name().map(|name| name.to_string_lossy().into_owned()),
        env,
        log: options.log,
        isolation: options.isolation.then_some(true),
        args: options.args.clone(),
        ..Settings::default()
    };
    // Of the same setting the later one counts.
    options.set.iter().fold(settings, |settings, set| set.clone().before(settings))
}

/// What happens to the backtraces of panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backtrace {
    /// None.
    Off,
    /// Std prints addresses, and we show them in this way.
    On(Style),
}

impl Backtrace {
    /// The program's own `RUST_BACKTRACE` counts, then ours; without either they are shown short.
    pub fn choose(envs: &[String], ours: Option<&str>) -> Self {
        let programs = envs.iter().rev().find_map(|env| env.strip_prefix("RUST_BACKTRACE="));
        match programs.or(ours) {
            Some("0") => Self::Off,
            Some("full") => Self::On(Style::Full),
            _ => Self::On(Style::Short),
        }
    }

    /// Variables for the program. In a stripped program std prints frames only if it is to print all; which ones are
    /// shown is decided on this side. Errors that carry backtraces (`RUST_LIB_BACKTRACE`) are left as they are.
    fn variables(self, envs: &[String]) -> Vec<String> {
        let mut variables = Vec::new();
        if matches!(self, Self::On(_)) {
            variables.push("RUST_BACKTRACE=full".to_owned());
            let asked = |name: &str| envs.iter().any(|env| env.starts_with(name));
            if !asked("RUST_LIB_BACKTRACE=") && !asked("RUST_BACKTRACE=") {
                variables.push("RUST_LIB_BACKTRACE=0".to_owned());
            }
        }
        variables
    }

    /// How std's backtraces are shown.
    pub fn style(self) -> Style {
        match self {
            Self::Off => Style::Full,
            Self::On(style) => style,
        }
    }
}

/// Boots the machine, console to standard output and standard input to the console, until it ends.
fn stream(vm: &Vm, image: &Image, backtrace: Backtrace) -> Result<Outcome> {
    let mut console = Console::new(io::stdout().lock(), Symbols::new(&image.with_symbols), backtrace.style());
    let mut running = vm.start()?;
    if let Some(input) = running.take_input() {
        // The thread waits for input when the machine ends, and ends with the process.
        std::thread::spawn(move || feed(input));
    }
    let mut written = Ok(());
    let outcome = running.pump(|bytes| {
        written = console.write(bytes);
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    match written.and_then(|()| console.finish()) {
        // Whoever read our output has enough: nothing to complain about.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Outcome::Exited(PIPE_CLOSED)),
        result => {
            result.context("cannot write the console's output")?;
            Ok(outcome)
        }
    }
}

/// As shells show a process that ended by SIGPIPE.
const PIPE_CLOSED: u8 = abi::exit::STATUS_SIGNAL_BASE + 13;
/// End of transmission, by which a terminal says that no more input comes.
const END_OF_INPUT: u8 = 0x04;

/// Copies standard input to the console, once the program reads it, until either ends.
fn feed(mut console: Input) {
    if !console.wait_ready() {
        return;
    }
    let mut buffer = [0; 4096];
    loop {
        match io::stdin().lock().read(&mut buffer) {
            Ok(0) => {
                let _ = console.write_all(&[END_OF_INPUT]);
                return;
            }
            Ok(n) => {
                if console.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envs(envs: &[&str]) -> Vec<String> {
        envs.iter().map(|&env| env.to_owned()).collect()
    }

    #[test]
    fn the_programs_own_choice_of_backtrace_counts_first() {
        assert_eq!(Backtrace::choose(&envs(&["RUST_BACKTRACE=full"]), Some("0")), Backtrace::On(Style::Full));
        assert_eq!(Backtrace::choose(&envs(&["A=b"]), Some("0")), Backtrace::Off);
        assert_eq!(Backtrace::choose(&[], None), Backtrace::On(Style::Short));
    }

    #[test]
    fn errors_with_backtraces_stay_cheap_unless_asked_for() {
        let short = Backtrace::On(Style::Short);
        assert_eq!(short.variables(&[]), ["RUST_BACKTRACE=full", "RUST_LIB_BACKTRACE=0"]);
        assert_eq!(short.variables(&envs(&["RUST_BACKTRACE=1"])), ["RUST_BACKTRACE=full"]);
        assert_eq!(Backtrace::Off.variables(&[]), [""; 0]);
    }
}
