//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use abi::cmdline::{LogLevel, Settings, quote};
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

/// Builds Cargo projects as images that boot by themselves, and runs them.
///
/// Works in any Cargo project, on the stable tool-chain, without changing a line of it.
#[derive(Debug, Parser)]
#[command(name = "cargo includeos", bin_name = "cargo includeos", version, styles = STYLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new project that says hello from a virtual machine
    New(New),
    /// Build the project's programs as images
    Build(Build),
    /// Build an image and boot it; its exit status is the command's
    Run(Box<Run>),
    /// Run the project's tests, each test program in an image; reports as `cargo test` does
    Test(Box<Test>),
    /// Show what an image consists of, by crate and subsystem
    Size(Size),
    /// Check that this machine has what the tool needs
    Doctor,
    /// Boot an image under gdb
    Debug(Box<Debug>),
}

/// `cargo includeos new`
#[derive(Debug, Args)]
pub struct New {
    /// Folder to make
    pub path: PathBuf,
    /// Name of the package [default: the folder's]
    #[arg(long)]
    pub name: Option<String>,
    /// Version control system to start the project with
    #[arg(long, value_name = "VCS", value_parser = ["git", "hg", "pijul", "fossil", "none"])]
    pub vcs: Option<String>,
}

/// `cargo includeos build`
#[derive(Debug, Args)]
pub struct Build {
    /// What to build and how.
    #[command(flatten)]
    pub selection: Selection,
}

/// `cargo includeos run`
#[derive(Debug, Args)]
pub struct Run {
    /// What to build and how.
    #[command(flatten)]
    pub selection: Selection,
    /// The machine.
    #[command(flatten)]
    pub machine: MachineOptions,
    /// End the image after this many seconds, with status 124
    #[arg(long, value_name = "SECS", value_parser = parse_seconds)]
    pub timeout: Option<Duration>,
}

/// `cargo includeos test`
#[derive(Debug, Args)]
pub struct Test {
    /// Run only tests whose name contains this
    #[arg(value_name = "TESTNAME")]
    pub filter: Option<String>,
    /// What to build and how.
    #[command(flatten)]
    pub selection: Selection,
    /// Which tests.
    #[command(flatten)]
    pub targets: TestTargets,
    /// The machine.
    #[command(flatten)]
    pub machine: MachineOptions,
    /// End an image that runs for longer than these seconds, with the stacks of its threads; its test program has failed
    #[arg(long, value_name = "SECS", value_parser = parse_seconds)]
    pub timeout: Option<Duration>,
    /// Run all test programs, whether or not one fails
    #[arg(long)]
    pub no_fail_fast: bool,
    /// Build the images, but do not boot them
    #[arg(long)]
    pub no_run: bool,
    /// Run the very same test programs as processes of this machine instead, to compare
    #[arg(long, conflicts_with = "no_run")]
    pub on_linux: bool,
}

/// Which tests of the selected packages. As for `cargo test`: without any of these, the default ones.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Build")]
pub struct TestTargets {
    /// Test all packages of the workspace
    #[arg(long)]
    pub workspace: bool,
    /// Leave out packages
    #[arg(long, value_name = "SPEC", requires = "workspace")]
    pub exclude: Vec<String>,
    /// Test the library's own tests only
    #[arg(long)]
    pub lib: bool,
    /// Test all programs
    #[arg(long)]
    pub bins: bool,
    /// Test all examples
    #[arg(long)]
    pub examples: bool,
    /// Test this integration test
    #[arg(long, value_name = "NAME")]
    pub test: Vec<String>,
    /// Test everything that is tested by default, but for documentation
    #[arg(long)]
    pub tests: bool,
    /// Test all benchmarks
    #[arg(long)]
    pub benches: bool,
    /// Test everything
    #[arg(long)]
    pub all_targets: bool,
}

impl TestTargets {
    /// These, as arguments of `cargo test`.
    pub fn arguments(&self) -> Vec<&str> {
        let switches = [
            (self.workspace, "--workspace"),
            (self.lib, "--lib"),
            (self.bins, "--bins"),
            (self.examples, "--examples"),
            (self.tests, "--tests"),
            (self.benches, "--benches"),
            (self.all_targets, "--all-targets"),
        ];
        let mut arguments: Vec<_> =
            switches.into_iter().filter(|(on, _)| *on).map(|(_, word)| word).collect();
        arguments.extend(self.exclude.iter().flat_map(|spec| ["--exclude", spec]));
        arguments.extend(self.test.iter().flat_map(|name| ["--test", name]));
        arguments
    }
}

/// `cargo includeos size`
#[derive(Debug, Args)]
pub struct Size {
    /// What to build and how.
    #[command(flatten)]
    pub selection: Selection,
}

/// `cargo includeos debug`
#[derive(Debug, Args)]
pub struct Debug {
    /// What to build and how.
    #[command(flatten)]
    pub selection: Selection,
    /// The machine.
    #[command(flatten)]
    pub machine: MachineOptions,
    /// TCP port for gdb on the loopback interface [default: a free one]
    #[arg(long)]
    pub port: Option<u16>,
}

/// Which program of the project is meant, and how it is built. As for `cargo build`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Build")]
pub struct Selection {
    /// Build with optimisations (the profile `release`)
    #[arg(short, long, conflicts_with = "profile")]
    pub release: bool,
    /// Build with this profile
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Package with the program
    #[arg(long, value_name = "SPEC")]
    pub package: Option<String>,
    /// Name of the program
    #[arg(long, value_name = "NAME", conflicts_with = "example")]
    pub bin: Option<String>,
    /// Name of the example
    #[arg(long, value_name = "NAME")]
    pub example: Option<String>,
    /// Features to activate, separated by blanks or commas
    #[arg(short = 'F', long, value_name = "FEATURES")]
    pub features: Vec<String>,
    /// Activate all features
    #[arg(long)]
    pub all_features: bool,
    /// Do not activate the feature `default`
    #[arg(long)]
    pub no_default_features: bool,
    /// Path to Cargo.toml
    #[arg(long, value_name = "PATH")]
    pub manifest_path: Option<PathBuf>,
    /// Folder for everything that is built
    #[arg(long, value_name = "FOLDER")]
    pub target_dir: Option<PathBuf>,
    /// Folder whose files the image carries, read-only [default: `root` in the package's metadata.includeos, or none]
    #[arg(long, value_name = "FOLDER")]
    pub root: Option<PathBuf>,
    /// Override a value of Cargo's configuration
    #[arg(long, value_name = "KEY=VALUE|PATH")]
    pub config: Vec<String>,
    /// Number of jobs at the same time
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<String>,
    /// Fail if Cargo.lock would change
    #[arg(long)]
    pub locked: bool,
    /// Build without the network
    #[arg(long)]
    pub offline: bool,
    /// As --locked and --offline
    #[arg(long)]
    pub frozen: bool,
    /// Say what is done: Cargo's commands, QEMU's command line
    #[arg(short, long)]
    pub verbose: bool,
    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// The machine that an image is booted on.
#[derive(Debug, Args)]
#[command(next_help_heading = "Machine")]
pub struct MachineOptions {
    /// Memory: `64M`, `1G`, or a number of MiB
    #[arg(short = 'm', long, value_name = "SIZE", default_value = "64M", value_parser = parse_mib)]
    pub memory: u32,
    /// Number of CPUs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub cpus: u32,
    /// Machine type: q35, pc or microvm
    #[arg(long, value_name = "TYPE", default_value_t = qemu::Machine::default())]
    pub machine: qemu::Machine,
    /// CPU model, in QEMU's words
    #[arg(long, value_name = "MODEL", default_value = "max")]
    pub cpu: String,
    /// What runs the instructions; `auto` takes KVM if a probe boots under it
    #[arg(long, value_name = "ACCEL", default_value = "auto")]
    pub accel: AccelChoice,
    /// Lead a port of this host to the image: `8080:80`, `5353:53/udp`, `0.0.0.0:8080:80` [default address: 127.0.0.1]
    #[arg(short = 'p', long = "publish", value_name = "[ADDRESS:]HOST:IMAGE[/PROTOCOL]")]
    pub publish: Vec<qemu::Forward>,
    /// What the image's network interface is connected to; `user` is QEMU's own network, with DHCP and a way out
    #[arg(long, value_name = "NETWORK", default_value = "user")]
    pub net: NetChoice,
    /// Connect the image's network interface to this tap interface of the host
    #[arg(long, value_name = "NAME", conflicts_with_all = ["net", "publish"])]
    pub tap: Option<String>,
    /// Address of the image's network interface [default: QEMU's; a random one with --tap]
    #[arg(long, value_name = "ADDRESS")]
    pub mac: Option<qemu::Mac>,
    /// Write all traffic of the image's network interface to this file, in pcap format
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Variable for the program's environment; without a value, that of this environment
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]", value_parser = parse_env)]
    pub envs: Vec<String>,
    /// Which of the kernel's own messages are shown: error, warn, info or debug
    #[arg(long, value_name = "LEVEL", value_parser = parse_log)]
    pub log: Option<LogLevel>,
    /// Run the program at ring 3, apart from the kernel, which it cannot read or change
    #[arg(long)]
    pub isolation: bool,
    /// Set something of the image, before what its project says: `net.eth0=10.0.0.2/24,gw=10.0.0.1`, `net.hostname=web1`
    #[arg(short, long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub set: Vec<Settings>,
    /// More arguments for QEMU, separated by blanks
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub qemu: Vec<String>,
    /// Arguments for the program
    #[arg(last = true)]
    pub args: Vec<String>,
}

/// `--accel`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccelChoice {
    /// KVM if it works here, or else TCG.
    Auto,
    /// QEMU's translator.
    Tcg,
    /// The host's KVM.
    Kvm,
}

/// `--net`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NetChoice {
    /// QEMU's own network.
    User,
    /// No interface.
    None,
}

impl MachineOptions {
    /// The network that the options ask for.
    pub fn network(&self) -> Result<qemu::Network, String> {
        match (&self.tap, self.net) {
            (Some(name), _) => Ok(qemu::Network::Tap(name.clone())),
            (None, NetChoice::User) => Ok(qemu::Network::User(self.publish.clone())),
            (None, NetChoice::None) if self.publish.is_empty() && self.pcap.is_none() => {
                Ok(qemu::Network::None)
            }
            (None, NetChoice::None) => {
                Err("`--publish` and `--pcap` have no effect with `--net none`".to_owned())
            }
        }
    }
}

/// Reads the command line; ends the process for `--help` and for what is wrong.
pub fn parse() -> Cli {
    // As a Cargo subcommand the program gets its own name as first argument.
    let mut args: Vec<_> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == "includeos") {
        args.remove(1);
    }
    let matches = command().get_matches_from(args);
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// For `run` and `debug`, `-p` publishes ports, as people know it from docker; for the others it is the package, as for Cargo.
fn command() -> clap::Command {
    let with_short = |command: clap::Command| command.mut_arg("package", |arg| arg.short('p'));
    let of_test = |command: clap::Command| {
        with_short(command.mut_arg("publish", |arg| arg.short(None)))
            .mut_arg("memory", |arg| arg.default_value("256M"))
            .mut_arg("jobs", |arg| arg.help("Number of jobs at the same time, and of images [default for images: as many as CPUs and memory allow]"))
            .mut_arg("args", |arg| arg.help("Arguments for the test programs: `--test-threads 1`, `--ignored`, `--nocapture`"))
    };
    Cli::command()
        .mut_subcommand("build", with_short)
        .mut_subcommand("size", with_short)
        .mut_subcommand("test", of_test)
}

/// `64M`, `1G`, `512`, also `64MiB`: MiB.
fn parse_mib(text: &str) -> Result<u32, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "m" | "mb" | "mib" => 1,
        "g" | "gb" | "gib" => 1024,
        _ => return Err("expected a size as 64M or 1G".to_owned()),
    };
    let mib = digits.parse().ok().and_then(|number: u32| number.checked_mul(factor));
    mib.filter(|&mib| mib > 0).ok_or_else(|| "expected a size as 64M or 1G".to_owned())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|limit| !limit.is_zero())
        .ok_or_else(|| "expected a number of seconds above 0".to_owned())
}

fn parse_env(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("", _)) => Err("a variable needs a name".to_owned()),
        Some(_) => Ok(text.to_owned()),
        None => match std::env::var(text) {
            Ok(value) => Ok(format!("{text}={value}")),
            Err(_) => Err(format!("{text} is not set here; give it a value: {text}=VALUE")),
        },
    }
}

/// One word of the image's command line.
fn parse_setting(text: &str) -> Result<Settings, String> {
    let settings = Settings::parse(&quote(text)).map_err(|error| error.to_string())?;
    let mut network = net::config::Config::default();
    settings
        .net
        .iter()
        .try_for_each(|word| network.set(word).map(drop))
        .map_err(|error| error.to_string())?;
    Ok(settings)
}

fn parse_log(text: &str) -> Result<LogLevel, String> {
    [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug]
        .into_iter()
        .find(|level| level.to_string() == text)
        .ok_or_else(|| "expected error, warn, info or debug".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        let matches = command().try_get_matches_from([&["cargo includeos"], args].concat())?;
        Cli::from_arg_matches(&matches)
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn p_selects_a_package_for_build_and_publishes_a_port_for_run() {
        let Command::Build(build) = parse(&["build", "-p", "web"]).unwrap().command else { panic!() };
        assert_eq!(build.selection.package.as_deref(), Some("web"));
        let Command::Run(run) = parse(&["run", "-p", "8080:80", "-p", "5353:53/udp"]).unwrap().command else {
            panic!()
        };
        let forwards = ["8080:80", "5353:53/udp"].map(|forward| forward.parse().unwrap());
        assert_eq!(run.machine.network(), Ok(qemu::Network::User(forwards.to_vec())));
        assert!(parse(&["run", "-p", "web"]).is_err());
        assert!(parse(&["run", "--package", "web"]).is_ok());
    }

    #[test]
    fn networks() {
        let network = |args: &[&str]| {
            let Command::Run(run) = parse(&[&["run"], args].concat()).map_err(|e| e.to_string())?.command
            else {
                panic!()
            };
            run.machine.network()
        };
        assert_eq!(network(&[]), Ok(qemu::Network::User(Vec::new())));
        assert_eq!(network(&["--net", "none"]), Ok(qemu::Network::None));
        assert_eq!(network(&["--tap", "tap0"]), Ok(qemu::Network::Tap("tap0".to_owned())));
        assert!(network(&["--tap", "tap0", "-p", "1:2"]).is_err());
        assert!(network(&["--net", "none", "-p", "1:2"]).is_err());
        assert!(network(&["--net", "bridge"]).is_err());
        assert!(network(&["-p", "0:80"]).unwrap_err().contains("ports are numbers from 1 to 65535"));
    }

    #[test]
    fn words_after_the_dashes_are_the_programs() {
        let Command::Run(run) = parse(&["run", "-m", "1G", "--", "-m", "--help"]).unwrap().command else {
            panic!()
        };
        assert_eq!(run.machine.memory, 1024);
        assert_eq!(run.machine.args, ["-m", "--help"]);
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_mib("64M"), Ok(64));
        assert_eq!(parse_mib("64"), Ok(64));
        assert_eq!(parse_mib("2GiB"), Ok(2048));
        for wrong in ["", "M", "0", "-1", "64K", "9999999G", "6 4"] {
            assert!(parse_mib(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn seconds() {
        assert_eq!(parse_seconds("1.5"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "0", "-1", "soon", "inf", "nan"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn variables_need_a_name() {
        assert_eq!(parse_env("A=b=c"), Ok("A=b=c".to_owned()));
        assert!(parse_env("=x").is_err());
        assert!(parse_env("A_VARIABLE_THAT_IS_NOT_SET").is_err());
    }
}
