//! The project's own tool-chain, whichever started us.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_platform::Cfg;

use crate::rustflags::TARGET;

/// `cargo`, as the user would get it in the working folder.
pub fn cargo() -> Command {
    command("cargo")
}

/// `rustc`, as Cargo would take it.
pub fn rustc(configured: Option<&str>) -> Command {
    let from_env = std::env::var("RUSTC").ok().filter(|name| !name.is_empty());
    command(&from_env.or(configured.map(str::to_owned)).unwrap_or_else(|| "rustc".to_owned()))
}

/// A program by `PATH`, hence by rustup's proxies, which read the project's `rust-toolchain.toml`.
///
/// A Cargo that was itself chosen by rustup leaves its choice in the environment; taking that over would hide the
/// project's. A choice that the user made (`cargo +nightly includeos`, `RUSTUP_TOOLCHAIN=`) stays.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_remove("CARGO");
    let source = std::env::var("RUSTUP_TOOLCHAIN_SOURCE").ok();
    if std::env::var_os("CARGO").is_some() && !is_users_choice(source.as_deref(), is_pinned) {
        command.env_remove("RUSTUP_TOOLCHAIN");
    }
    command
}

/// Whether the tool-chain in the environment came from the user. rustup says so from 1.29 on; before, it is taken
/// for the user's unless the project pins one.
fn is_users_choice(source: Option<&str>, is_pinned: impl FnOnce() -> bool) -> bool {
    match source {
        Some(source) => matches!(source, "cli" | "env"),
        None => !is_pinned(),
    }
}

/// Whether the working folder or one above pins a tool-chain.
fn is_pinned() -> bool {
    let folder = std::env::current_dir().unwrap_or_default();
    let mut files =
        folder.ancestors().flat_map(|dir| [dir.join("rust-toolchain.toml"), dir.join("rust-toolchain")]);
    files.any(|file| file.is_file())
}

/// What is known of a rustc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `rustc 1.95.0 (59807616e 2026-04-14)`
    pub text: String,
    /// The 95 of 1.95.
    pub minor: u32,
}

/// Asks a rustc for its version.
pub fn version(rustc: &mut Command) -> Result<Version> {
    let text = output(rustc.arg("--version"))?;
    let minor = parse_minor(&text).with_context(|| format!("{text:?} is no rustc version"))?;
    Ok(Version { text, minor })
}

fn parse_minor(text: &str) -> Option<u32> {
    text.split_whitespace().nth(1)?.split('.').nth(1)?.parse().ok()
}

/// Asks a rustc what `cfg(...)` holds for the target.
pub fn cfgs(rustc: &mut Command) -> Result<Vec<Cfg>> {
    let text = output(rustc.args(["--print", "cfg", "--target", TARGET]))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Whether the target's standard library is installed for a rustc.
pub fn has_target(rustc: &mut Command) -> Result<bool> {
    let folder = output(rustc.args(["--print", "target-libdir", "--target", TARGET]))?;
    Ok(Path::new(&folder).is_dir())
}

/// What a program prints on its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| not_started(&name, error))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed: {}", stderr.trim().trim_start_matches("error: "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A program that could not be started, with the remedy.
pub fn not_started(name: &str, error: std::io::Error) -> anyhow::Error {
    if error.kind() == std::io::ErrorKind::NotFound && matches!(name, "cargo" | "rustc") {
        return anyhow::anyhow!(
            "{name} was not found; remedy: install Rust by rustup, and see that ~/.cargo/bin is in PATH"
        );
    }
    anyhow::Error::new(error).context(format!("cannot start {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(parse_minor("rustc 1.95.0 (59807616e 2026-04-14)"), Some(95));
        assert_eq!(parse_minor("rustc 1.97.0-nightly (abc 2026-05-01)"), Some(97));
        assert_eq!(parse_minor("clang version"), None);
    }

    #[test]
    fn only_the_users_own_choice_of_toolchain_stays() {
        for pinned in [true, false] {
            assert!(is_users_choice(Some("cli"), || pinned) && is_users_choice(Some("env"), || pinned));
            assert!(!is_users_choice(Some("toolchain-file"), || pinned));
            assert!(!is_users_choice(Some("default"), || pinned));
            assert_eq!(is_users_choice(None, || pinned), !pinned);
        }
    }
}
