//! Runs a project's tests, each test program in an image, and reports as `cargo test` does.
//!
//! Images run side by side, as far as CPUs and memory allow; what they write is shown one after the other, in Cargo's order.

mod pool;

use std::cmp::Reverse;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use cargo_metadata::{Artifact, Package, PackageId, TargetKind};
use qemu::{Outcome, Vm};

use crate::build::{self, TestImage, display_path};
use crate::cli::Test;
use crate::project::Project;
use crate::run::{self, Backtrace};
use crate::ui;
use pool::{Job, Pool};

/// Cargo's status when a test has failed.
const STATUS_FAILED: u8 = 101;

/// `cargo includeos test`: 0, or 101 if a test program has failed.
pub fn command(test: &Test) -> Result<u8> {
    let selection = &test.selection;
    let project = Project::load(selection)?;
    let mut images = build::tests(&project, selection, &test.targets)?;
    images.sort_by_cached_key(|image| order(&image.artifact));
    let several = images.windows(2).any(|pair| pair[0].artifact.package_id != pair[1].artifact.package_id);
    let program = |image| Program::new(test, &project, image, several);
    let programs = images.iter().map(program).collect::<Result<Vec<_>>>()?;
    if test.no_run {
        for program in &programs {
            if !selection.quiet {
                ui::status("Image", &program.title);
            }
        }
        return Ok(0);
    }
    let failed = boot(test, &images, &programs)?;
    let goes_on = failed.is_empty() || test.no_fail_fast;
    if goes_on && !selection.quiet && images.iter().any(|image| has_documentation(&image.artifact)) {
        ui::status("Leaving out", "tests in documentation: `cargo test --doc` runs them on this machine");
    }
    Ok(report(test, &programs, &failed))
}

/// A test program.
struct Program {
    /// What Cargo calls it: `unittests src/lib.rs (target/...)`.
    title: String,
    /// The options by which it alone is run again.
    rerun: String,
    /// The machine for it.
    vm: Vm,
    /// The package's folder.
    folder: PathBuf,
}

impl Program {
    /// `several`: more than one package is tested.
    fn new(test: &Test, project: &Project, built: &TestImage, several: bool) -> Result<Self> {
        let TestImage { image, artifact } = built;
        let package = project.package(&artifact.package_id)?;
        let folder = project.folder(&artifact.package_id)?;
        let source = artifact.target.src_path.as_std_path();
        let source = source.strip_prefix(folder).unwrap_or(source).display();
        let what = match kind(artifact) {
            Some(TargetKind::Test | TargetKind::Bench) => "",
            _ => "unittests ",
        };
        let mut vm = run::machine(image, &test.machine, backtrace(test), !test.selection.quiet)?;
        vm.timeout = test.timeout;
        // As Cargo has it: the whole path.
        let path = std::path::absolute(&image.path).context("the working folder is gone")?;
        vm.settings.argv0 = Some(path.to_string_lossy().into_owned());
        let mut env = variables(package, folder);
        env.append(&mut vm.settings.env);
        vm.settings.env = env;
        vm.settings.args = test.filter.iter().chain(&test.machine.args).cloned().collect();
        let of_package = if several { format!("-p {} ", package.name) } else { String::new() };
        Ok(Self {
            title: format!("{what}{source} ({})", display_path(&image.path)),
            rerun: of_package + &rerun(artifact),
            vm,
            folder: folder.to_owned(),
        })
    }

    /// Runs the program as a process of this machine, with the same arguments and variables.
    fn run_here(&self, executable: &Path) -> Result<ExitStatus> {
        let settings = &self.vm.settings;
        let mut command = Command::new(executable);
        command.args(&settings.args).current_dir(&self.folder).stdin(Stdio::null());
        command.envs(settings.env.iter().filter_map(|variable| variable.split_once('=')));
        command.status().with_context(|| format!("cannot run {}", executable.display()))
    }
}

/// Backtraces are shown if they are asked for, as by Cargo: tests panic as a matter of course.
fn backtrace(test: &Test) -> Backtrace {
    let ours = std::env::var("RUST_BACKTRACE").ok();
    Backtrace::choose(&test.machine.envs, Some(ours.as_deref().unwrap_or("0")))
}

/// Cargo's order: by package, then libraries, programs, tests, benchmarks, examples, by name.
fn order(artifact: &Artifact) -> (PackageId, Reverse<bool>, u8, String) {
    let (is_library, rank) = match kind(artifact) {
        Some(TargetKind::Bin) => (false, 0),
        Some(TargetKind::Test) => (false, 1),
        Some(TargetKind::Bench) => (false, 2),
        Some(TargetKind::Example) => (false, 3),
        _ => (true, 0),
    };
    (artifact.package_id.clone(), Reverse(is_library), rank, artifact.target.name.clone())
}

fn kind(artifact: &Artifact) -> Option<&TargetKind> {
    artifact.target.kind.first()
}

/// Whether `cargo test` would now run the examples of a library's documentation.
fn has_documentation(artifact: &Artifact) -> bool {
    kind(artifact) == Some(&TargetKind::Lib) && artifact.target.doctest
}

/// The options of `cargo test` for one program.
fn rerun(artifact: &Artifact) -> String {
    let name = &artifact.target.name;
    match kind(artifact) {
        Some(TargetKind::Bin) => format!("--bin {name}"),
        Some(TargetKind::Test) => format!("--test {name}"),
        Some(TargetKind::Bench) => format!("--bench {name}"),
        Some(TargetKind::Example) => format!("--example {name}"),
        _ => "--lib".to_owned(),
    }
}

/// The environment that Cargo gives to a package's tests, as far as it has a meaning in an image, and what of ours is about how
/// tests run (`RUST_TEST_THREADS`, `RUST_LOG`).
fn variables(package: &Package, folder: &Path) -> Vec<String> {
    let version = &package.version;
    let text = |path: &Option<cargo_metadata::camino::Utf8PathBuf>| {
        path.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    let or_empty = |value: &Option<String>| value.clone().unwrap_or_default();
    let cargos = [
        ("MANIFEST_DIR", folder.display().to_string()),
        ("MANIFEST_PATH", package.manifest_path.to_string()),
        ("PKG_NAME", package.name.to_string()),
        ("PKG_VERSION", version.to_string()),
        ("PKG_VERSION_MAJOR", version.major.to_string()),
        ("PKG_VERSION_MINOR", version.minor.to_string()),
        ("PKG_VERSION_PATCH", version.patch.to_string()),
        ("PKG_VERSION_PRE", version.pre.to_string()),
        ("PKG_AUTHORS", package.authors.join(":")),
        ("PKG_DESCRIPTION", or_empty(&package.description)),
        ("PKG_HOMEPAGE", or_empty(&package.homepage)),
        ("PKG_REPOSITORY", or_empty(&package.repository)),
        ("PKG_LICENSE", or_empty(&package.license)),
        ("PKG_LICENSE_FILE", text(&package.license_file)),
        ("PKG_RUST_VERSION", package.rust_version.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("PKG_README", text(&package.readme)),
    ];
    let ours = std::env::vars().filter(|(name, _)| name.starts_with("RUST_") && name != "RUST_BACKTRACE");
    let cargos = cargos.into_iter().map(|(name, value)| (format!("CARGO_{name}"), value));
    cargos.chain(ours).map(|(name, value)| format!("{name}={value}")).collect()
}

/// A test program that failed.
struct Failed {
    /// Which one.
    program: usize,
    /// Why, where it did not say so itself.
    cause: Option<String>,
}

/// Boots the images and shows what they write; returns those that failed. Without `--no-fail-fast` the first one that fails is the
/// last one that is shown.
fn boot(test: &Test, images: &[TestImage], programs: &[Program]) -> Result<Vec<Failed>> {
    let jobs = images.iter().zip(programs).map(|(image, program)| Job {
        vm: program.vm.clone(),
        with_symbols: image.image.with_symbols.clone(),
        style: backtrace(test).style(),
    });
    let mut failed = Vec::new();
    let mut out = io::stdout().lock();
    let pool = if test.on_linux { None } else { Some(Pool::start(jobs.collect(), at_once(test)?)) };
    for (number, program) in programs.iter().enumerate() {
        if !test.selection.quiet {
            ui::status("Running", &program.title);
        }
        let cause = match &pool {
            Some(pool) => match pool.follow(number, &mut out)? {
                Outcome::Exited(0) => continue,
                // A test program that says so itself.
                Outcome::Exited(STATUS_FAILED) => None,
                outcome => Some(outcome.to_string()),
            },
            None => match program.run_here(&images[number].image.with_symbols)? {
                status if status.success() => continue,
                status if status.code() == Some(STATUS_FAILED.into()) => None,
                status => Some(format!("the process ended with {status}")),
            },
        };
        failed.push(Failed { program: number, cause });
        if !test.no_fail_fast {
            break;
        }
    }
    Ok(failed)
}

/// Says which test programs failed, in Cargo's words; the status.
fn report(test: &Test, programs: &[Program], failed: &[Failed]) -> u8 {
    let options = |failed: &Failed| programs[failed.program].rerun.clone();
    let cause =
        |failed: &Failed| failed.cause.as_ref().map(|cause| format!("\n    {cause}")).unwrap_or_default();
    match failed {
        [] => return 0,
        [one] if !test.no_fail_fast => {
            let cause =
                one.cause.as_ref().map(|cause| format!("\n\nCaused by:\n  {cause}")).unwrap_or_default();
            ui::error(format!("test failed, to rerun pass `{}`{cause}", options(one)));
        }
        _ => {
            let targets =
                if failed.len() == 1 { "1 target".to_owned() } else { format!("{} targets", failed.len()) };
            let list = failed.iter().map(|one| format!("\n    `{}`{}", options(one), cause(one)));
            ui::error(format!("{targets} failed:{}", list.collect::<String>()));
        }
    }
    STATUS_FAILED
}

/// How many images run side by side: as `--jobs` says, and no more than CPUs and memory of this machine allow.
fn at_once(test: &Test) -> Result<usize> {
    if let Some(jobs) = &test.selection.jobs {
        let jobs = jobs.parse().ok().filter(|jobs| *jobs > 0);
        return jobs.context("--jobs: expected a number above 0");
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let by_cpus = cpus / test.machine.cpus.max(1) as usize;
    let by_memory = memory_available_mib().map_or(1, |mib| mib / u64::from(test.machine.memory.max(1)));
    Ok(by_cpus.min(usize::try_from(by_memory)?).max(1))
}

/// Memory that is free on this machine, or can be made so (proc_meminfo(5)).
fn memory_available_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}
