//! The flags for rustc: the user's as Cargo would take them, then ours.
//!
//! Cargo takes flags from the first of these that is there: `CARGO_ENCODED_RUSTFLAGS`, `RUSTFLAGS`, `target.*`, and
//! `build.rustflags`. Naming ours in any of them would hide others, so that the user's choice is worked out here and
//! handed to Cargo together with ours as `CARGO_ENCODED_RUSTFLAGS`, which comes first and loses nothing.

use std::path::Path;

use abi::service::Service;
use anyhow::{Context, Result};
use cargo_platform::{Cfg, Platform};

use crate::config::{Config, words};
use crate::link::DEFAULT;

/// The target every image is built for.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Where images are loaded; both linkers would leave the first MiBs unused.
const IMAGE_BASE: &str = "0x100000";

/// The linker that puts an image together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linker {
    /// LLVM's lld: rustc's default for the target since 1.90.
    Lld,
    /// GNU ld, and gold.
    Gnu,
    /// Another: the image stays at that linker's default address.
    Other,
}

/// Environment variables, by name.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The user's flags, as Cargo would choose them for [`TARGET`]. `cfgs` is asked only if there are `cfg(...)` tables.
pub fn of_user(config: &Config, env: Env<'_>, cfgs: &dyn Fn() -> Result<Vec<Cfg>>) -> Result<Vec<String>> {
    if let Some(encoded) = env("CARGO_ENCODED_RUSTFLAGS") {
        return Ok(encoded.split('\x1f').filter(|flag| !flag.is_empty()).map(str::to_owned).collect());
    }
    if let Some(flags) = env("RUSTFLAGS") {
        return Ok(flags.split_whitespace().map(str::to_owned).collect());
    }
    let of_target = of_target(config, env, cfgs)?;
    if !of_target.is_empty() {
        return Ok(of_target);
    }
    let mut flags = config.get(&["build", "rustflags"]).map(words).unwrap_or_default();
    flags.extend(split(env("CARGO_BUILD_RUSTFLAGS")));
    Ok(flags)
}

/// `target.<triple>.rustflags` and every `target.'cfg(...)'.rustflags` that matches, joined.
fn of_target(config: &Config, env: Env<'_>, cfgs: &dyn Fn() -> Result<Vec<Cfg>>) -> Result<Vec<String>> {
    let mut flags = config.get(&["target", TARGET, "rustflags"]).map(words).unwrap_or_default();
    flags.extend(split(env(&format!("CARGO_TARGET_{}_RUSTFLAGS", env_name(TARGET)))));
    let mut known = None;
    for (name, table) in config.targets() {
        let Some(value) = table.get("rustflags").filter(|_| name.starts_with("cfg(")) else { continue };
        let platform: Platform =
            name.parse().with_context(|| format!("Cargo's configuration: [target.'{name}'] is malformed"))?;
        if known.is_none() {
            known = Some(cfgs()?);
        }
        if platform.matches(TARGET, known.as_deref().unwrap_or_default()) {
            flags.extend(words(value));
        }
    }
    Ok(flags)
}

/// Our flags: what makes an ordinary program an image, with these services whether it uses them or not. `script` is called in place
/// of the linker ([`crate::link`]).
pub fn of_image(kernel_object: &Path, script: &Path, linker: Linker, services: &[Service]) -> Vec<String> {
    let mut flags = vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        "-Crelocation-model=static".to_owned(),
        // Faults are traced through frame pointers.
        "-Cforce-frame-pointers=yes".to_owned(),
        // What Cargo builds keeps its symbols, for reports; the image made from it is stripped.
        "-Cstrip=none".to_owned(),
        format!("-Clinker={}", script.display()),
        format!("-Clink-arg={}", kernel_object.display()),
        // Services that nothing reaches are dropped: lld's habit, GNU ld's option.
        "-Clink-arg=-Wl,-z,start-stop-gc".to_owned(),
    ];
    flags.extend(services.iter().map(|service| format!("-Clink-arg=-Wl,-u,{}", service.symbol())));
    match linker {
        Linker::Lld => flags.push(format!("-Clink-arg=-Wl,--image-base={IMAGE_BASE}")),
        Linker::Gnu => flags.push(format!("-Clink-arg=-Wl,-Ttext-segment={IMAGE_BASE}")),
        Linker::Other => {}
    }
    flags
}

/// Which linker rustc will use with the user's flags. `rustc_minor` is the 95 of rustc 1.95.
pub fn linker(user: &[String], rustc_minor: u32) -> Linker {
    let mut linker = if rustc_minor >= 90 { Linker::Lld } else { Linker::Gnu };
    for option in codegen_options(user) {
        if let Some((_, name)) = option.split_once("-fuse-ld=") {
            linker = match name.split_whitespace().next().unwrap_or_default() {
                "lld" => Linker::Lld,
                "bfd" | "gold" => Linker::Gnu,
                _ => Linker::Other,
            };
        }
        match option {
            "linker-features=-lld" | "link-self-contained=-linker" | "link-self-contained=no" => {
                linker = Linker::Gnu;
            }
            "linker-features=+lld" => linker = Linker::Lld,
            _ => {}
        }
    }
    linker
}

/// The command that rustc calls to link, as the user's flags and Cargo's configuration have it.
pub fn linker_command(user: &[String], config: &Config, env: Env<'_>) -> String {
    let of_flags = codegen_options(user).filter_map(|option| option.strip_prefix("linker=")).last();
    let of_env = || env(&format!("CARGO_TARGET_{}_LINKER", env_name(TARGET)));
    let of_config = || config.text(&["target", TARGET, "linker"]).map(str::to_owned);
    of_flags.map(str::to_owned).or_else(of_env).or_else(of_config).unwrap_or_else(|| DEFAULT.to_owned())
}

/// The values of `-C x`, `-Cx`, `--codegen x` and `--codegen=x` (and of `-Z`).
fn codegen_options(flags: &[String]) -> impl Iterator<Item = &str> {
    let mut flags = flags.iter().map(String::as_str);
    std::iter::from_fn(move || {
        loop {
            let flag = flags.next()?;
            if matches!(flag, "-C" | "--codegen" | "-Z") {
                return flags.next();
            }
            let value = ["--codegen=", "-C", "-Z"].iter().find_map(|prefix| flag.strip_prefix(prefix));
            if value.is_some() {
                return value;
            }
        }
    })
}

/// The form for `CARGO_ENCODED_RUSTFLAGS`.
pub fn encode(flags: &[String]) -> String {
    flags.join("\x1f")
}

/// A name as it stands in Cargo's environment variables.
pub fn env_name(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

fn split(text: Option<String>) -> Vec<String> {
    text.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(config: &str, env: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::load(folder.path(), None, &[config.to_owned()]).unwrap();
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        let cfgs = || Ok(vec![r#"target_os="linux""#.parse()?, "unix".parse()?]);
        of_user(&config, &env, &cfgs).unwrap()
    }

    const ALL: &str = "build.rustflags = ['build']\n[target]\nx86_64-unknown-linux-gnu.rustflags = 'triple'\n\
                       'cfg(unix)'.rustflags = ['unix']\n'cfg(windows)'.rustflags = ['windows']";

    #[test]
    fn the_environment_hides_the_configuration() {
        assert_eq!(user(ALL, &[("RUSTFLAGS", " -A  -B ")]), ["-A", "-B"]);
        let both = [("RUSTFLAGS", "-A"), ("CARGO_ENCODED_RUSTFLAGS", "-C\x1fa b")];
        assert_eq!(user(ALL, &both), ["-C", "a b"]);
        assert_eq!(user(ALL, &[("RUSTFLAGS", "")]), [""; 0], "empty is there, and hides");
    }

    #[test]
    fn target_tables_are_joined_and_hide_build() {
        assert_eq!(user(ALL, &[]), ["triple", "unix"]);
        let env = [("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "env")];
        assert_eq!(user(ALL, &env), ["triple", "env", "unix"]);
    }

    #[test]
    fn build_flags_count_when_no_target_table_does() {
        let config = "build.rustflags = ['build']\ntarget.'cfg(windows)'.rustflags = ['windows']";
        assert_eq!(user(config, &[("CARGO_BUILD_RUSTFLAGS", "env")]), ["build", "env"]);
        assert_eq!(user("", &[]), [""; 0]);
    }

    #[test]
    fn ours_come_as_single_words() {
        let flags = of_image(Path::new("/a b/kernel.o"), Path::new("/a b/cc"), Linker::Lld, &[Service::Net]);
        assert!(flags.contains(&"-Clinker=/a b/cc".to_owned()));
        assert!(flags.contains(&"-Clink-arg=-Wl,-u,includeos_net".to_owned()));
        assert!(flags.contains(&"-Clink-arg=/a b/kernel.o".to_owned()));
        assert!(flags.iter().any(|flag| flag.contains("--image-base")));
        let gnu = of_image(Path::new("/k.o"), Path::new("/cc"), Linker::Gnu, &[]);
        assert!(gnu.iter().any(|flag| flag.contains("-Ttext-segment")));
        assert!(!gnu.iter().any(|flag| flag.contains("--image-base")));
        assert_eq!(encode(&flags).split('\x1f').count(), flags.len());
    }

    #[test]
    fn the_linker_follows_version_and_flags() {
        let with = |flags: &[&str], minor| {
            linker(&flags.iter().map(|&flag| flag.to_owned()).collect::<Vec<_>>(), minor)
        };
        assert_eq!(with(&[], 95), Linker::Lld);
        assert_eq!(with(&[], 89), Linker::Gnu);
        assert_eq!(with(&["-Clinker-features=-lld"], 95), Linker::Gnu);
        assert_eq!(with(&["-C", "linker-features=-lld"], 95), Linker::Gnu);
        assert_eq!(with(&["-Clink-arg=-fuse-ld=lld"], 80), Linker::Lld);
        assert_eq!(with(&["-C", "link-arg=-fuse-ld=bfd"], 95), Linker::Gnu);
        assert_eq!(with(&["--codegen=link-args=-pthread -fuse-ld=mold -g"], 95), Linker::Other);
        assert_eq!(with(&["-Ctarget-cpu=native", "--cfg", "x"], 95), Linker::Lld);
    }
}
