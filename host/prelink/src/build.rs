//! From sources to one relocatable object.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::localise::{GateError, localise};

/// The one target of the object.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The kernel's own flags. Frame pointers for backtraces; no unwind tables: the kernel does not unwind, and the
/// program's unwinder should not find kernel frames in its tables. ChaCha20 in plain code: kernel code leaves the upper
/// halves of vector registers alone.
const RUSTFLAGS: [&str; 6] = [
    "--cfg=includeos_metal",
    "--cfg=chacha20_backend=\"soft\"",
    "-Crelocation-model=static",
    "-Ctarget-feature=+crt-static",
    "-Cforce-frame-pointers=yes",
    "-Cforce-unwind-tables=no",
];

/// Names another profile of the workspace for the object: `object-checked` has the kernel's own assertions.
pub const PROFILE_VARIABLE: &str = "INCLUDEOS_OBJECT_PROFILE";

/// The finished object.
#[derive(Clone, Debug)]
pub struct KernelObject {
    /// The ELF relocatable file.
    pub bytes: Vec<u8>,
    /// Hash of its content; also in its image note.
    pub build_id: [u8; 16],
}

/// The object could not be made.
#[derive(Debug)]
pub enum BuildError {
    /// A command could not be started.
    Start(String, std::io::Error),
    /// A command failed; its output was shown.
    Failed(String),
    /// A file could not be read.
    Read(PathBuf, std::io::Error),
    /// The object breaks a rule.
    Gate(GateError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(command, error) => write!(f, "{command} does not start: {error}"),
            Self::Failed(command) => write!(f, "{command} failed"),
            Self::Read(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Gate(error) => write!(f, "the kernel object breaks a rule: {error}"),
        }
    }
}

impl std::error::Error for BuildError {}

/// Builds the object from the sources in `workspace`, with `scratch` as target directory.
///
/// # Errors
/// [`BuildError`]; compiler messages go to standard error.
pub fn build(workspace: &Path, scratch: &Path) -> Result<KernelObject, BuildError> {
    let archive = compile(workspace, scratch)?;
    let joined = scratch.join("kernel.joined.o");
    run(Command::new(linker()?)
        .arg("-r")
        .args(["-u", "__includeos_pvh_start"])
        .arg(&archive)
        .arg("-o")
        .arg(&joined))?;
    let joined = std::fs::read(&joined).map_err(|error| BuildError::Read(joined, error))?;
    let (bytes, build_id) = localise(&joined).map_err(BuildError::Gate)?;
    Ok(KernelObject { bytes, build_id })
}

/// Builds `os/object`; returns its archive.
fn compile(workspace: &Path, scratch: &Path) -> Result<PathBuf, BuildError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace).args(["build", "--quiet", "--package", "includeos-object"]);
    let profile = std::env::var(PROFILE_VARIABLE).unwrap_or_else(|_| "object".to_owned());
    command.args(["--profile", &profile, "--target", TARGET, "--target-dir"]).arg(scratch);
    // What the outer cargo set for its own build is not for this one.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let ours = name.starts_with("CARGO_PROFILE_")
            || name.starts_with("CARGO_BUILD_")
            || name.starts_with("CARGO_TARGET_")
            || matches!(name.as_str(), "RUSTFLAGS" | "RUSTC" | "RUSTC_WRAPPER" | "RUSTC_WORKSPACE_WRAPPER");
        if ours {
            command.env_remove(name);
        }
    }
    // Reports name sources as seen from the repository, wherever it lies.
    let remap = format!("--remap-path-prefix={}=", workspace.join("").display());
    let flags = RUSTFLAGS.iter().copied().chain([remap.as_str()]).collect::<Vec<_>>();
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    run(&mut command)?;
    Ok(scratch.join(TARGET).join(profile).join("libobject.a"))
}

/// The linker that comes with the tool-chain.
fn linker() -> Result<PathBuf, BuildError> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--print", "sysroot"]);
    let output = command.output().map_err(|error| BuildError::Start(show(&command), error))?;
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(Path::new(&sysroot).join("lib/rustlib").join(TARGET).join("bin/gcc-ld/ld.lld"))
}

fn run(command: &mut Command) -> Result<(), BuildError> {
    let status = command.status().map_err(|error| BuildError::Start(show(command), error))?;
    if status.success() { Ok(()) } else { Err(BuildError::Failed(show(command))) }
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
