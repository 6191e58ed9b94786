//! Builds a project's programs as images.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File};
use std::io::{BufReader, IsTerminal};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use abi::attached::Kind;
use abi::cmdline::Settings;
use abi::service::Service;
use anyhow::{Context, Result, bail};
use cargo_metadata::diagnostic::DiagnosticLevel;
use cargo_metadata::{Artifact, Message, PackageId, TargetKind};

use crate::attach::attach;
use crate::cli::{Selection, TestTargets};
use crate::kernel_object::{self, write_whole};
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

/// A test executable as an image.
#[derive(Clone, Debug)]
pub struct TestImage {
    /// The image.
    pub image: Image,
    /// What Cargo says of it.
    pub artifact: Artifact,
}

/// Builds all programs that `selection` means.
pub fn all(selection: &Selection) -> Result<Vec<Image>> {
    let project = Project::load(selection)?;
    let images = Builder::new(&project, selection)?.images(Goal::Programs)?;
    if images.is_empty() {
        bail!("the project has no program to build an image of; remedy: `src/main.rs`, or `--example NAME`");
    }
    Ok(images)
}

/// Builds the one program that `selection` means.
pub fn one(selection: &Selection) -> Result<Image> {
    let project = Project::load(selection)?;
    let program = project.program(selection)?;
    let images = Builder::new(&project, selection)?.images(Goal::Program(&program))?;
    images.into_iter().next().with_context(|| format!("Cargo built no program `{}`", program.name))
}

/// Builds the tests of `project` that `targets` means, in the order in which Cargo builds them. Each package's folder is in the
/// images of its tests, where it lies here; its files can be changed, in the image.
pub fn tests(project: &Project, selection: &Selection, targets: &TestTargets) -> Result<Vec<TestImage>> {
    let builder = Builder::new(project, selection)?;
    let built = builder.build(Goal::Tests(targets))?;
    let mut trees = HashMap::new();
    let image_of = |artifact: Artifact| {
        let image = builder.test_image(&artifact, &built.crates, &mut trees)?;
        Ok(TestImage { image, artifact })
    };
    built.executables.into_iter().map(image_of).collect()
}

/// What is to be built.
#[derive(Clone, Copy)]
enum Goal<'a> {
    /// All programs that the selection means.
    Programs,
    /// One program.
    Program(&'a Program),
    /// Tests.
    Tests(&'a TestTargets),
}

struct Builder<'a> {
    project: &'a Project,
    selection: &'a Selection,
    rustflags: String,
}

/// What Cargo reports of a build.
#[derive(Default)]
struct Built {
    executables: Vec<Artifact>,
    crates: Vec<String>,
}

impl<'a> Builder<'a> {
    fn new(project: &'a Project, selection: &'a Selection) -> Result<Self> {
        let rustc = || toolchain::rustc(project.config.text(&["build", "rustc"]));
        let env = |name: &str| std::env::var(name).ok();
        let mut flags = rustflags::of_user(&project.config, &env, &|| toolchain::cfgs(&mut rustc()))?;
        let linker = rustflags::linker(&flags, toolchain::version(&mut rustc())?.minor);
        let object = kernel_object::place(&project.target_dir.join("includeos"))?;
        let command = rustflags::linker_command(&flags, &project.config, &env);
        let script = link::place(&project.target_dir.join("includeos"), &command)?;
        flags.extend(rustflags::of_image(&object, &script, linker, &project.services(selection)?));
        Ok(Self { project, selection, rustflags: rustflags::encode(&flags) })
    }

    /// The profile: what was asked for, or that of Cargo's command.
    fn profile(&self, goal: Goal<'_>) -> &'a str {
        match (&self.selection.profile, goal) {
            (Some(profile), _) => profile,
            (None, _) if self.selection.release => "release",
            (None, Goal::Tests(_)) => "test",
            (None, _) => "dev",
        }
    }

    /// Builds programs and makes their images.
    fn images(&self, goal: Goal<'_>) -> Result<Vec<Image>> {
        let built = self.build(goal)?;
        built.executables.iter().map(|artifact| self.image(artifact, goal, &built.crates)).collect()
    }

    /// Has Cargo bring executables up to date with the sources and the kernel object.
    fn build(&self, goal: Goal<'_>) -> Result<Built> {
        let built = self.cargo_build(goal)?;
        // Cargo does not know the kernel object: with another one it finds everything fresh.
        let stale = built.executables.iter().filter(|artifact| self.is_stale(artifact)).collect::<Vec<_>>();
        if stale.is_empty() {
            return Ok(built);
        }
        stale.iter().try_for_each(|artifact| self.remove(artifact, goal))?;
        self.cargo_build(goal)
    }

    /// Runs Cargo and returns what it reports.
    fn cargo_build(&self, goal: Goal<'_>) -> Result<Built> {
        let mut cargo = self.cargo(goal)?;
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
                    if artifact.executable.is_some() && is_meant(&artifact, goal) {
                        built.executables.push(artifact);
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

    fn cargo(&self, goal: Goal<'_>) -> Result<Command> {
        let selection = self.selection;
        let profile = self.profile(goal);
        let mut cargo = toolchain::cargo();
        cargo.env("CARGO_ENCODED_RUSTFLAGS", &self.rustflags).env_remove("RUSTFLAGS");
        cargo.stdin(Stdio::null()).stdout(Stdio::piped());
        cargo.args(match goal {
            Goal::Programs | Goal::Program(_) => &["build"][..],
            Goal::Tests(_) => &["test", "--no-run"],
        });
        cargo.args(["--target", TARGET, "--profile", profile, "--message-format"]);
        cargo.arg(if std::io::stderr().is_terminal() { "json-diagnostic-rendered-ansi" } else { "json" });
        cargo.args(selection.config.iter().flat_map(|value| ["--config", value]));
        if let Some(debug) = self.project.missing_debug(profile)? {
            cargo.args(["--config", &format!("profile.{profile}.debug={debug:?}")]);
        }
        match (goal, &selection.package) {
            (Goal::Program(program), None) => drop(cargo.args(["--package", &program.package])),
            (_, Some(package)) => drop(cargo.args(["--package", package])),
            (_, None) => {}
        }
        let (option, name) = match (goal, &selection.bin, &selection.example) {
            (Goal::Program(program), ..) if program.is_example => ("--example", Some(&program.name)),
            (Goal::Program(program), ..) => ("--bin", Some(&program.name)),
            (_, Some(bin), _) => ("--bin", Some(bin)),
            (_, None, Some(example)) => ("--example", Some(example)),
            (Goal::Programs, None, None) => ("--bins", None),
            (Goal::Tests(_), None, None) => ("", None),
        };
        cargo.args([option].into_iter().filter(|option| !option.is_empty()).chain(name.map(String::as_str)));
        if let Goal::Tests(targets) = goal {
            cargo.args(targets.arguments());
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
    /// intermediate files, where tests have their only one; where that cannot be found, the whole package is cleaned.
    fn remove(&self, artifact: &Artifact, goal: Goal<'_>) -> Result<()> {
        let Some(path) = &artifact.executable else { return Ok(()) };
        let inode = fs::metadata(path).with_context(|| format!("cannot read {path}"))?;
        let is_twin = |file: &Path| {
            file.symlink_metadata().is_ok_and(|m| (m.dev(), m.ino()) == (inode.dev(), inode.ino()))
        };
        let profile = profile_dir(self.profile(goal));
        let folders = self
            .project
            .build_dirs()
            .flat_map(|dir| ["deps", "examples"].map(|folder| dir.join(TARGET).join(profile).join(folder)));
        let files = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        let twins: Vec<_> = files.map(|entry| entry.path()).filter(|file| is_twin(file)).collect();
        for twin in &twins {
            fs::remove_file(twin).with_context(|| format!("cannot remove {}", twin.display()))?;
        }
        if twins.is_empty() {
            let mut cargo = toolchain::cargo();
            cargo.args(["clean", "--quiet", "--target", TARGET, "--profile", self.profile(goal)]);
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

    /// The image of a program, beside the project's other results.
    fn image(&self, artifact: &Artifact, goal: Goal<'_>, crates: &[String]) -> Result<Image> {
        let manifest = self.project.manifest(&artifact.package_id)?;
        let root = self.selection.root.as_ref().or(manifest.root.as_ref());
        let tree = root.map_or(Ok(Vec::new()), |root| tree::of_folder(root))?;
        let mut path = self.images_dir(goal);
        if artifact.target.kind.contains(&TargetKind::Example) {
            path.push("examples");
        }
        path.push(&artifact.target.name);
        self.make_image(artifact, path, &manifest.settings, &tree, crates)
    }

    /// The image of a test. Several tests of a package have the same tree, which is packed once.
    fn test_image(
        &self,
        artifact: &Artifact,
        crates: &[String],
        trees: &mut HashMap<PackageId, Vec<u8>>,
    ) -> Result<Image> {
        let manifest = self.project.manifest(&artifact.package_id)?;
        let folder = self.project.folder(&artifact.package_id)?;
        let tree = match trees.entry(artifact.package_id.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let root = self.selection.root.as_ref().or(manifest.root.as_ref());
                let left_out: Vec<_> = self.project.build_dirs().map(Path::to_owned).collect();
                // `CARGO_TARGET_TMPDIR`.
                let empty: Vec<_> = left_out.iter().map(|dir| dir.join(TARGET).join("tmp")).collect();
                let root = root.map(PathBuf::as_path);
                entry.insert(tree::of_package(root, folder, &left_out, &empty)?)
            }
        };
        let settings = Settings {
            // The words for the program are not for its tests.
            args: Vec::new(),
            root_writable: Some(true),
            cwd: Some(
                folder.to_str().context("the package's folder has a name that is not text")?.to_owned(),
            ),
            ..manifest.settings
        };
        let linked = artifact.executable.as_deref().and_then(|path| path.file_name());
        let path = self.images_dir(Goal::Tests(&TestTargets::default()));
        let path = path.join("deps").join(linked.context("Cargo names no executable")?);
        self.make_image(artifact, path, &settings, tree, crates)
    }

    /// The folder for images of the goal's profile.
    fn images_dir(&self, goal: Goal<'_>) -> PathBuf {
        self.project.target_dir.join("includeos").join(profile_dir(self.profile(goal)))
    }

    /// Checks what Cargo linked and writes the image with these parts.
    fn make_image(
        &self,
        artifact: &Artifact,
        path: PathBuf,
        settings: &Settings,
        tree: &[u8],
        crates: &[String],
    ) -> Result<Image> {
        let linked = artifact.executable.clone().context("Cargo names no executable")?.into_std_path_buf();
        let elf = fs::read(&linked).with_context(|| format!("cannot read {}", linked.display()))?;
        let note = image::check(&elf).with_context(|| format!("{}", linked.display()))?;
        if note.build_id != kernel_object::BUILD_ID {
            bail!("{}: another kernel is linked than this tool's; remedy: `cargo clean`", linked.display());
        }
        let small = image::strip(&elf).with_context(|| format!("{}: cannot strip it", linked.display()))?;
        // A program that opens no files has no use for a tree.
        let tree = if image::holds(&elf, Service::Files) { tree } else { &[] };
        let settings = settings.to_string();
        let parts = [(Kind::Settings, settings.as_bytes()), (Kind::Tree, tree)];
        let parts: Vec<_> = parts.into_iter().filter(|(_, content)| !content.is_empty()).collect();
        let small = attach(small, &parts)?;
        let load_end = image::load_end(&small)?;
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

/// Whether an executable is what was asked for. Build scripts are executables, too, as are the programs that tests use.
fn is_meant(artifact: &Artifact, goal: Goal<'_>) -> bool {
    let kinds = &artifact.target.kind;
    let is_example = kinds.contains(&TargetKind::Example);
    match goal {
        Goal::Program(program) => artifact.target.name == program.name && is_example == program.is_example,
        Goal::Programs => is_example || kinds.contains(&TargetKind::Bin),
        Goal::Tests(_) => artifact.profile.test,
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
