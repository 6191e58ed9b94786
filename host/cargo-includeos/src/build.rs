//! Builds a project's programs as images.

use std::fs::{self, File};
use std::io::{BufReader, IsTerminal};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use abi::attached::Kind;
use anyhow::{Context, Result, bail};
use cargo_metadata::diagnostic::DiagnosticLevel;
use cargo_metadata::{Artifact, Message, TargetKind};

use crate::attach::attach;
use crate::cli::Selection;
use crate::kernel_object::{self, write_whole};
use crate::manifest::Service;
use crate::project::{Program, Project};
use crate::rustflags::{self, TARGET};
use crate::{diagnosis, image, link, toolchain, tree, ui};

/// A program as an image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The image: boots, and runs on Linux.
    pub path: PathBuf,
    /// What Cargo linked: the same with symbols and debug information.
    pub with_symbols: PathBuf,
    /// Size of the image file in bytes.
    pub len: u64,
    /// First physical address behind what it occupies when it is loaded.
    pub load_end: u64,
    /// Name of the program's own crate.
    pub crate_name: String,
    /// Names of the crates in it that Cargo built: all but the standard library's.
    pub crates: Vec<String>,
}

/// Cargo ended with this status after it said why.
#[derive(Debug)]
pub struct CargoFailed(pub u8);

impl std::fmt::Display for CargoFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cargo build failed with status {}", self.0)
    }
}

impl std::error::Error for CargoFailed {}

/// Builds all programs that `selection` means.
pub fn all(selection: &Selection) -> Result<Vec<Image>> {
    let project = Project::load(selection)?;
    let images = Builder::new(&project, selection)?.build(None)?;
    if images.is_empty() {
        bail!("the project has no program to build an image of; remedy: `src/main.rs`, or `--example NAME`");
    }
    Ok(images)
}

/// Builds the one program that `selection` means.
pub fn one(selection: &Selection) -> Result<Image> {
    let project = Project::load(selection)?;
    let program = project.program(selection)?;
    let images = Builder::new(&project, selection)?.build(Some(&program))?;
    images.into_iter().next().with_context(|| format!("Cargo built no program `{}`", program.name))
}

struct Builder<'a> {
    project: &'a Project,
    selection: &'a Selection,
    profile: &'a str,
    rustflags: String,
}

/// What Cargo reports of a build.
#[derive(Default)]
struct Built {
    programs: Vec<Artifact>,
    crates: Vec<String>,
}

impl<'a> Builder<'a> {
    fn new(project: &'a Project, selection: &'a Selection) -> Result<Self> {
        let profile = match &selection.profile {
            Some(profile) => profile,
            None if selection.release => "release",
            None => "dev",
        };
        let rustc = || toolchain::rustc(project.config.text(&["build", "rustc"]));
        let env = |name: &str| std::env::var(name).ok();
        let mut flags = rustflags::of_user(&project.config, &env, &|| toolchain::cfgs(&mut rustc()))?;
        let linker = rustflags::linker(&flags, toolchain::version(&mut rustc())?.minor);
        let object = kernel_object::place(&project.target_dir.join("includeos"))?;
        let command = rustflags::linker_command(&flags, &project.config, &env);
        let script = link::place(&project.target_dir.join("includeos"), &command)?;
        flags.extend(rustflags::of_image(&object, &script, linker, &project.services(selection)?));
        Ok(Self { project, selection, profile, rustflags: rustflags::encode(&flags) })
    }

    fn build(&self, program: Option<&Program>) -> Result<Vec<Image>> {
        let mut built = self.cargo_build(program)?;
        // Cargo does not know the kernel object: with another one it finds everything fresh.
        let stale = built.programs.iter().filter(|artifact| self.is_stale(artifact)).collect::<Vec<_>>();
        if !stale.is_empty() {
            stale.iter().try_for_each(|artifact| self.remove(artifact))?;
            built = self.cargo_build(program)?;
        }
        built.programs.iter().map(|artifact| self.make_image(artifact, &built.crates)).collect()
    }

    /// Runs Cargo and returns what it reports.
    fn cargo_build(&self, program: Option<&Program>) -> Result<Built> {
        let mut cargo = self.cargo(program)?;
        if self.selection.verbose {
            ui::status("Using", format!("CARGO_ENCODED_RUSTFLAGS={}", self.rustflags.replace('\x1f', " ")));
            ui::status("Running", format!("{cargo:?}"));
        }
        let mut child = cargo.spawn().map_err(|error| toolchain::not_started("cargo", error))?;
        let stdout = child.stdout.take().context("cargo has no standard output")?;
        let mut built = Built::default();
        let mut messages = String::new();
        for message in Message::parse_stream(BufReader::new(stdout)) {
            match message.context("cannot read what Cargo says")? {
                Message::CompilerArtifact(artifact) => {
                    built.crates.push(artifact.target.name.replace('-', "_"));
                    if artifact.executable.is_some() && is_program(&artifact, program) {
                        built.programs.push(artifact);
                    }
                }
                Message::CompilerMessage(message) => {
                    show(message.message.rendered.as_deref().unwrap_or_default());
                    if message.message.level == DiagnosticLevel::Error {
                        messages += &message.message.message;
                        messages.extend(message.message.children.iter().map(|child| child.message.as_str()));
                    }
                }
                Message::TextLine(line) => println!("{line}"),
                _ => {}
            }
        }
        let status = child.wait().context("cannot wait for Cargo")?;
        if !status.success() {
            if let Some(remedy) = diagnosis::of(&messages) {
                bail!(remedy);
            }
            return Err(
                CargoFailed(status.code().and_then(|code| code.try_into().ok()).unwrap_or(101)).into()
            );
        }
        Ok(built)
    }

    fn cargo(&self, program: Option<&Program>) -> Result<Command> {
        let selection = self.selection;
        let mut cargo = toolchain::cargo();
        cargo.env("CARGO_ENCODED_RUSTFLAGS", &self.rustflags).env_remove("RUSTFLAGS");
        cargo.stdin(Stdio::null()).stdout(Stdio::piped());
        cargo.args(["build", "--target", TARGET, "--profile", self.profile, "--message-format"]);
        cargo.arg(if std::io::stderr().is_terminal() { "json-diagnostic-rendered-ansi" } else { "json" });
        cargo.args(selection.config.iter().flat_map(|value| ["--config", value]));
        if let Some(debug) = self.project.missing_debug(self.profile)? {
            cargo.args(["--config", &format!("profile.{}.debug={debug:?}", self.profile)]);
        }
        match (program, &selection.package) {
            (Some(program), None) => drop(cargo.args(["--package", &program.package])),
            (_, Some(package)) => drop(cargo.args(["--package", package])),
            (None, None) => {}
        }
        match (program, &selection.bin, &selection.example) {
            (Some(program), ..) if program.is_example => drop(cargo.args(["--example", &program.name])),
            (Some(program), ..) => drop(cargo.args(["--bin", &program.name])),
            (None, Some(bin), _) => drop(cargo.args(["--bin", bin])),
            (None, None, Some(example)) => drop(cargo.args(["--example", example])),
            (None, None, None) => drop(cargo.arg("--bins")),
        }
        cargo.args(selection.features.iter().flat_map(|features| ["--features", features]));
        if let Some(path) = &selection.manifest_path {
            cargo.arg("--manifest-path").arg(path);
        }
        if let Some(dir) = &selection.target_dir {
            cargo.arg("--target-dir").arg(dir);
        }
        if let Some(jobs) = &selection.jobs {
            cargo.args(["--jobs", jobs]);
        }
        let switches = [
            (selection.all_features, "--all-features"),
            (selection.no_default_features, "--no-default-features"),
            (selection.locked, "--locked"),
            (selection.offline, "--offline"),
            (selection.frozen, "--frozen"),
            (selection.verbose, "--verbose"),
            (selection.quiet, "--quiet"),
        ];
        cargo.args(switches.into_iter().filter(|(on, _)| *on).map(|(_, switch)| switch));
        Ok(cargo)
    }

    /// Whether an executable that Cargo did not link now holds another kernel object, or none.
    fn is_stale(&self, artifact: &Artifact) -> bool {
        let Some(path) = artifact.executable.as_deref().filter(|_| artifact.fresh) else { return false };
        let note = fs::read(path).ok().and_then(|elf| image::check(&elf).ok());
        note.is_none_or(|note| note.build_id != kernel_object::BUILD_ID)
    }

    /// Removes an executable, so that Cargo links it again. What Cargo looks at is its hard link among the
    /// intermediate files; where that cannot be found, the whole package is cleaned.
    fn remove(&self, artifact: &Artifact) -> Result<()> {
        let Some(path) = &artifact.executable else { return Ok(()) };
        let inode = fs::metadata(path).with_context(|| format!("cannot read {path}"))?;
        let is_twin = |file: &Path| {
            file.symlink_metadata().is_ok_and(|m| (m.dev(), m.ino()) == (inode.dev(), inode.ino()))
        };
        let profile = profile_dir(self.profile);
        let folders = self
            .project
            .build_dirs()
            .flat_map(|dir| ["deps", "examples"].map(|folder| dir.join(TARGET).join(profile).join(folder)));
        let files = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        let twins: Vec<_> = files
            .map(|entry| entry.path())
            .filter(|file| file != path.as_std_path() && is_twin(file))
            .collect();
        for twin in &twins {
            fs::remove_file(twin).with_context(|| format!("cannot remove {}", twin.display()))?;
        }
        if twins.is_empty() {
            let mut cargo = toolchain::cargo();
            cargo.args(["clean", "--quiet", "--target", TARGET, "--profile", self.profile]);
            cargo
                .args(["--package", &artifact.package_id.repr])
                .arg("--target-dir")
                .arg(&self.project.target_dir);
            if let Some(path) = &self.selection.manifest_path {
                cargo.arg("--manifest-path").arg(path);
            }
            toolchain::output(&mut cargo).context("cannot have a program linked again")?;
        }
        Ok(())
    }

    /// Checks what Cargo linked and lays the image beside the project's other results.
    fn make_image(&self, artifact: &Artifact, crates: &[String]) -> Result<Image> {
        let linked = artifact.executable.clone().context("Cargo names no executable")?.into_std_path_buf();
        let elf = fs::read(&linked).with_context(|| format!("cannot read {}", linked.display()))?;
        let note = image::check(&elf).with_context(|| format!("{}", linked.display()))?;
        if note.build_id != kernel_object::BUILD_ID {
            bail!("{}: another kernel is linked than this tool's; remedy: `cargo clean`", linked.display());
        }
        let small = image::strip(&elf).with_context(|| format!("{}: cannot strip it", linked.display()))?;
        let manifest = self.project.manifest(&artifact.package_id)?;
        let settings = manifest.settings.to_string();
        let root = self.selection.root.as_ref().or(manifest.root.as_ref());
        // A program that opens no files has no use for a tree.
        let root = root.filter(|_| image::holds(&elf, Service::Files));
        let tree = root.map_or(Ok(Vec::new()), |root| tree::of_folder(root))?;
        let parts = [(Kind::Settings, settings.as_bytes()), (Kind::Tree, &tree)];
        let parts: Vec<_> = parts.into_iter().filter(|(_, content)| !content.is_empty()).collect();
        let small = attach(small, &parts)?;
        let load_end = image::load_end(&small)?;
        let mut path = self.project.target_dir.join("includeos").join(profile_dir(self.profile));
        if artifact.target.kind.contains(&TargetKind::Example) {
            path.push("examples");
        }
        path.push(&artifact.target.name);
        if !fs::read(&path).is_ok_and(|there| there == small) {
            write_whole(&path, &small).with_context(|| format!("cannot write {}", path.display()))?;
            let executable = fs::Permissions::from_mode(0o755);
            File::open(&path)
                .and_then(|file| file.set_permissions(executable))
                .context("cannot make it executable")?;
        }
        Ok(Image {
            path,
            with_symbols: linked,
            len: small.len() as u64,
            load_end,
            crate_name: artifact.target.name.replace('-', "_"),
            crates: crates.to_vec(),
        })
    }
}

/// Whether an executable is a program that was asked for. Build scripts have executables, too.
fn is_program(artifact: &Artifact, program: Option<&Program>) -> bool {
    let kinds = &artifact.target.kind;
    let is_example = kinds.contains(&TargetKind::Example);
    match program {
        Some(program) => artifact.target.name == program.name && is_example == program.is_example,
        None => is_example || kinds.contains(&TargetKind::Bin),
    }
}

/// The folder of a profile: `debug` for Cargo's built-in `dev` and `test`.
fn profile_dir(profile: &str) -> &str {
    match profile {
        "dev" | "test" => "debug",
        "bench" => "release",
        other => other,
    }
}

/// Shows a compiler message where Cargo may be drawing its progress.
fn show(rendered: &str) {
    let line_start = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    eprint!("{line_start}{rendered}");
}

/// A path as short as it can be said here.
pub fn display_path(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// `cargo includeos build`
pub fn command(selection: &Selection) -> Result<()> {
    for image in all(selection)? {
        if !selection.quiet {
            ui::status("Image", format!("{} ({} KB)", display_path(&image.path), image.len.div_ceil(1000)));
        }
    }
    Ok(())
}
