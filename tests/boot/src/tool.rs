//! `cargo includeos`, built from this repository.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use cargo_metadata::Message;

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/boot is two levels below the root")
}

/// The tool's executable. The first call has Cargo bring it up to date.
pub fn executable() -> &'static Path {
    static TOOL: OnceLock<PathBuf> = OnceLock::new();
    TOOL.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "cargo-includeos", "--message-format", "json"]);
        let output = cargo.current_dir(repository()).output().expect("Cargo runs this test, so it is there");
        assert!(output.status.success(), "the tool is not built:\n{}", text(&output.stderr));
        let is_tool = |message| match message {
            Ok(Message::CompilerArtifact(artifact)) if artifact.target.is_bin() => artifact.executable,
            _ => None,
        };
        Message::parse_stream(output.stdout.as_slice())
            .find_map(is_tool)
            .expect("Cargo names the tool")
            .into()
    })
}

/// The folder in which Cargo builds this repository.
pub fn target_dir() -> &'static Path {
    // The tool is at PROFILE/cargo-includeos in it.
    executable().ancestors().nth(2).expect("a profile's folder in the target folder")
}

/// `cargo includeos ARGS` in `folder`, without what Cargo and rustup have set for this test.
pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(executable());
    command.args(args).current_dir(folder);
    let names =
        ["CARGO_TARGET_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTUP_TOOLCHAIN", "RUST_BACKTRACE"];
    for name in names {
        command.env_remove(name);
    }
    command
}

/// Runs `cargo includeos ARGS` in `folder` and expects it to do well.
#[track_caller]
pub fn succeed(folder: &Path, args: &[&str]) -> Output {
    let output = command(folder, args).output().expect("the tool was built");
    assert!(output.status.success(), "cargo includeos {args:?}: {}\n{}", output.status, text(&output.stderr));
    output
}

/// What a command wrote.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
