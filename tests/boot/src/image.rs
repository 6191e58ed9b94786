//! Programs as images.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;

use object::Object;

use crate::tool;

/// A program that was built as an image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The file that boots, and runs on Linux.
    pub path: PathBuf,
    /// The same with symbols.
    pub with_symbols: PathBuf,
}

impl Image {
    /// A program of `tests/programs`. The first call builds all of them.
    #[track_caller]
    pub fn program(name: &str) -> Self {
        Self::at(Path::new(target_dir()), "release", name)
    }

    /// A project of `examples`, with one program of the same name. Built when it is asked for.
    #[track_caller]
    pub fn example(name: &str) -> Self {
        let folder = tool::target_dir().join("boot-tests").join("examples");
        let target = folder.to_str().expect("a path of text");
        let project = tool::repository().join("examples").join(name);
        tool::succeed(&project, &["build", "--release", "--target-dir", target]);
        Self::at(&folder, "release", name)
    }

    /// `cargo includeos run -- ARGS` of a program of `tests/programs`.
    #[track_caller]
    pub fn run_by_tool(name: &str, args: &[&str]) -> Output {
        Self::run_by_tool_with(&[], name, args)
    }

    /// As [`Self::run_by_tool`], with more options.
    #[track_caller]
    pub fn run_by_tool_with(more: &[&str], name: &str, args: &[&str]) -> Output {
        let options =
            ["run", "--quiet", "--release", "--timeout", "120", "--target-dir", target_dir(), "--bin", name];
        let mut command = tool::command(&programs(), &options);
        command.args(more).arg("--").args(args).output().expect("the tool was built")
    }

    /// What the tool built in a target folder.
    #[track_caller]
    pub fn at(target_dir: &Path, profile: &str, name: &str) -> Self {
        let path = target_dir.join("includeos").join(profile).join(name);
        let with_symbols = target_dir.join("x86_64-unknown-linux-gnu").join(profile).join(name);
        assert!(path.is_file(), "{} was not built", path.display());
        Self { path, with_symbols }
    }

    /// The file's octets, with symbols.
    pub fn read(&self) -> Vec<u8> {
        std::fs::read(&self.with_symbols).expect("Cargo linked it")
    }
}

impl Image {
    /// The services that the linker was told to keep, by name.
    pub fn services(&self) -> Vec<String> {
        const NAMES: [&str; 8] =
            ["events", "files", "futexes", "local", "net", "pipes", "scheduling", "timers"];
        let octets = self.read();
        let elf = object::File::parse(octets.as_slice()).expect("an ELF file");
        let held = |name: &&str| elf.symbol_by_name(&format!("includeos_{name}")).is_some();
        NAMES.iter().filter(|name| held(name)).map(|name| (*name).to_owned()).collect()
    }
}

/// The folder in which the programs are built. The first call builds them.
fn target_dir() -> &'static str {
    static TARGET_DIR: OnceLock<String> = OnceLock::new();
    TARGET_DIR.get_or_init(|| {
        let folder =
            tool::target_dir().join("boot-tests").into_os_string().into_string().expect("a path of text");
        tool::succeed(&programs(), &["build", "--release", "--target-dir", &folder]);
        folder
    })
}

/// The folder of the programs.
fn programs() -> PathBuf {
    tool::repository().join("tests/programs")
}
