//! `cargo xtask setup`: installs what building, booting and testing need.

use crate::{apt, repo, ui};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Install what building, booting and testing need
///
/// On Debian and its like: a C compiler as linker, QEMU, git, and the Rust components rustfmt and clippy. Needs root
/// or sudo, and only where something is missing; does nothing otherwise. Where the release's own QEMU is too old, the
/// release's `-backports` suite is added, with the place and the signing key of the entry that the machine already has.
#[derive(clap::Args)]
pub struct Setup {
    /// Also install gdb, which `cargo includeos debug` uses
    #[arg(long)]
    debugger: bool,
}

/// Plugins of interface version 4 need QEMU 9.2; nothing older is tested.
const QEMU_MIN: (u32, u32) = (9, 2);
const BACKPORTS_FILE: &str = "/etc/apt/sources.list.d/includeos-backports";

impl Setup {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let done = install(&Missing::find(self.debugger), Talk::Full)?;
        match done.as_slice() {
            [] => println!("setup: everything is there"),
            names => println!("setup: done, installed {}", names.join(", ")),
        }
        Ok(())
    }
}

/// Makes sure that the machine has what `test` and `demo` need; says nothing if it has.
pub fn ensure() -> Result<()> {
    install(&Missing::find(false), Talk::Brief).map(drop)
}

/// Makes sure that the machine has commands that only a few of our own need: each with its Debian package.
pub fn ensure_commands(commands: &[(&str, &'static str)]) -> Result<()> {
    let packages =
        commands.iter().filter(|(command, _)| !has(command)).map(|(_, package)| *package).collect();
    install(&Missing { packages, ..Missing::default() }, Talk::Brief).map(drop)
}

/// What there is to do.
#[derive(Debug, Default)]
struct Missing {
    /// Debian packages, without QEMU.
    packages: Vec<&'static str>,
    /// No QEMU, or one that is too old.
    qemu: Option<String>,
    /// Components of the Rust tool-chain.
    components: Vec<&'static str>,
}

/// How much of apt-get's own output is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Talk {
    Full,
    Brief,
}

impl Missing {
    fn find(debugger: bool) -> Self {
        let mut missing = Self::default();
        if !has("cc") {
            missing.packages.push("gcc");
        }
        if !Path::new("/usr/include/stdio.h").exists() {
            missing.packages.push("libc6-dev");
        }
        if !has("git") {
            missing.packages.push("git");
        }
        if debugger && !has("gdb") {
            missing.packages.push("gdb");
        }
        missing.qemu = match qemu_version() {
            None => Some("QEMU is missing".to_owned()),
            Some(version) if version < QEMU_MIN => {
                Some(format!("QEMU {}.{} is too old", version.0, version.1))
            }
            Some(_) => None,
        };
        for (component, command) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
            if repo::output(repo::cargo().args([command, "--version"])).is_err() {
                missing.components.push(component);
            }
        }
        missing
    }
}

/// Installs what is missing and returns its names.
fn install(missing: &Missing, talk: Talk) -> Result<Vec<&'static str>> {
    let mut done = Vec::new();
    if !missing.packages.is_empty() || missing.qemu.is_some() {
        let apt = Apt::new(talk)?;
        apt.get(&["update"])?;
        if !missing.packages.is_empty() {
            apt.install(&missing.packages)?;
            done.extend(&missing.packages);
        }
        if let Some(reason) = &missing.qemu {
            eprintln!("setup: {reason}");
            apt.install_qemu()?;
            done.push("qemu-system-x86");
        }
    }
    for component in &missing.components {
        eprintln!("setup: rustup component add {component}");
        let mut rustup = Command::new("rustup");
        match ui::run(rustup.args(["component", "add", component]).current_dir(repo::root())) {
            Ok(()) => done.push(component),
            // Building and booting work without it; the step that needs it will say so again.
            Err(error) => eprintln!("setup: {component} could not be added, its checks will fail: {error:#}"),
        }
    }
    Ok(done)
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Major and minor version of the QEMU that is used. `None`: there is none.
pub fn qemu_version() -> Option<(u32, u32)> {
    let program = std::env::var_os("QEMU").filter(|name| !name.is_empty());
    let mut qemu = Command::new(program.unwrap_or_else(|| "qemu-system-x86_64".into()));
    let text = repo::output(qemu.arg("--version")).ok()?;
    apt::upstream(text.split("version ").nth(1)?)
}

/// apt-get, run as root.
struct Apt {
    sudo: bool,
    talk: Talk,
}

impl Apt {
    fn new(talk: Talk) -> Result<Self> {
        if !has("apt-get") {
            bail!(
                "this machine has no apt-get; install a C compiler, git and QEMU {}.{} or newer \
                 (qemu-system-x86_64) by its own means, then run the command again",
                QEMU_MIN.0,
                QEMU_MIN.1
            );
        }
        let is_root = fs::metadata("/proc/self").context("/proc is not mounted")?.uid() == 0;
        if !is_root && !has("sudo") {
            bail!("installing packages needs root; run `cargo xtask setup` as root, or install sudo");
        }
        Ok(Self { sudo: !is_root, talk })
    }

    fn command(&self, program: &str) -> Command {
        if !self.sudo {
            return Command::new(program);
        }
        let mut command = Command::new("sudo");
        command.arg(program);
        command
    }

    /// Runs apt-get. It waits for another apt-get that is at work.
    fn get(&self, words: &[&str]) -> Result<()> {
        eprintln!("setup: apt-get {}", words.join(" "));
        let mut command = self.command("env");
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]);
        command.args(["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]).args(words);
        match self.talk {
            Talk::Full => ui::run(&mut command),
            Talk::Brief => repo::output(&mut command).map(drop),
        }
    }

    fn install(&self, packages: &[&str]) -> Result<()> {
        self.get(&[&["install", "--no-install-recommends"], packages].concat())
    }

    /// Installs QEMU from the release if that is new enough, or else from its backports.
    ///
    /// The version matters beyond our own needs: with `qemu-utils` from the backports present, the release's
    /// `qemu-system-x86` conflicts.
    fn install_qemu(&self) -> Result<()> {
        let policy = repo::output(Command::new("apt-cache").args(["policy", "qemu-system-x86"]))?;
        let offered = apt::candidate(&policy).and_then(apt::upstream);
        if offered.is_some_and(|version| version >= QEMU_MIN) {
            return self.install(&["qemu-system-x86"]);
        }
        let release = Release::read()?;
        let suite = format!("{}-backports", release.codename);
        if !release.sources()?.iter().any(|source| source.has_suite(&suite)) {
            self.add_backports(&release)?;
            self.get(&["update"])?;
        }
        self.install(&["-t", &suite, "qemu-system-x86"])
    }

    fn add_backports(&self, release: &Release) -> Result<()> {
        let sources = release.sources()?;
        let codename = &release.codename;
        let derived = sources.iter().find_map(|source| {
            Some((source, apt::derive_backports(&source.text, source.is_deb822, codename)?))
        });
        let Some((source, file)) = derived else {
            bail!(
                "QEMU {}.{} or newer is in the suite {codename}-backports, and no entry of {codename} main was found \
                 in /etc/apt to derive its source from; add that suite, then run `cargo xtask setup` again",
                QEMU_MIN.0,
                QEMU_MIN.1
            );
        };
        let path = format!("{BACKPORTS_FILE}.{}", file.extension);
        eprintln!("setup: adding {codename}-backports as {path}, derived from {}", source.path.display());
        let mut tee = self.command("tee");
        let mut child = tee.arg(&path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        child.stdin.take().expect("the input is piped").write_all(file.text.as_bytes())?;
        if !child.wait()?.success() {
            bail!("{path} could not be written");
        }
        Ok(())
    }
}

/// The Debian release that runs.
struct Release {
    codename: String,
}

/// A file that names package sources.
struct Source {
    path: PathBuf,
    is_deb822: bool,
    text: String,
}

impl Release {
    fn read() -> Result<Self> {
        let text = fs::read_to_string("/etc/os-release").context("/etc/os-release")?;
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
            Some(value.trim_matches('"').to_owned())
        };
        match (field("ID").as_deref(), field("VERSION_CODENAME")) {
            (Some("debian"), Some(codename)) => Ok(Self { codename }),
            (id, _) => bail!(
                "the packages of this system ({}) have no QEMU {}.{} or newer; install one, and name it in the \
                 environment variable QEMU if it is not in PATH",
                id.unwrap_or("unknown"),
                QEMU_MIN.0,
                QEMU_MIN.1
            ),
        }
    }

    /// apt's source files, in apt's order.
    fn sources(&self) -> Result<Vec<Source>> {
        let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
        if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
            let mut more = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
            more.sort();
            paths.extend(more);
        }
        let mut sources = Vec::new();
        for path in paths {
            let is_deb822 = path.extension().is_some_and(|extension| extension == "sources");
            let is_list = path.extension().is_some_and(|extension| extension == "list");
            if (is_deb822 || is_list) && path.exists() {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                sources.push(Source { path, is_deb822, text });
            }
        }
        Ok(sources)
    }
}

impl Source {
    fn has_suite(&self, suite: &str) -> bool {
        apt::has_suite(&self.text, self.is_deb822, suite)
    }
}
