//! Checks that this machine has what the tool needs.

use std::path::Path;
use std::process::Command;

use anstream::println;
use anstyle::{AnsiColor, Style};
use anyhow::Result;
use qemu::Accel;

use crate::toolchain;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DOUBT: Style = AnsiColor::Yellow.on_default().bold();

/// What a check found.
struct Finding {
    what: &'static str,
    verdict: Verdict,
}

enum Verdict {
    /// It is there; what it is.
    Fine(String),
    /// Work goes on without it; why, and how to have it.
    Lesser(String),
    /// It is needed; why it counts as missing, and the command that mends it.
    Missing { why: String, remedy: &'static str },
}

/// `cargo includeos doctor`: 0 if everything needed is there, otherwise 1.
pub fn command() -> u8 {
    let findings = [rustup(), cargo(), rustc(), target(), linker(), qemu_version(), accelerator(), gdb()];
    for Finding { what, verdict } in &findings {
        match verdict {
            Verdict::Fine(found) => println!("{GOOD}     ok{GOOD:#}  {what:<12} {found}"),
            Verdict::Lesser(why) => println!("{DOUBT}   less{DOUBT:#}  {what:<12} {why}"),
            Verdict::Missing { why, remedy } => {
                println!("{BAD}missing{BAD:#}  {what:<12} {why}; remedy: {remedy}");
            }
        }
    }
    let missing = findings.iter().filter(|f| matches!(f.verdict, Verdict::Missing { .. })).count();
    match missing {
        0 => println!("Everything needed is there."),
        1 => println!("One thing that is needed is missing."),
        n => println!("{n} things that are needed are missing."),
    }
    u8::from(missing > 0)
}

fn rustup() -> Finding {
    let verdict = match first_line(Command::new("rustup").arg("--version")) {
        Ok(version) => Verdict::Fine(version),
        Err(_) => Verdict::Lesser("not found: only the tool-chain in PATH can be used".to_owned()),
    };
    Finding { what: "rustup", verdict }
}

fn cargo() -> Finding {
    needed(
        "cargo",
        first_line(toolchain::cargo().arg("--version")),
        "install Rust by rustup (https://rustup.rs)",
    )
}

fn rustc() -> Finding {
    let version = toolchain::version(&mut toolchain::rustc(None)).map(|version| version.text);
    needed("rustc", version, "install Rust by rustup (https://rustup.rs)")
}

fn target() -> Finding {
    let found = toolchain::has_target(&mut toolchain::rustc(None)).and_then(|there| {
        anyhow::ensure!(there, "no standard library for images");
        Ok(crate::rustflags::TARGET.to_owned())
    });
    needed("target", found, "`rustup target add x86_64-unknown-linux-gnu`")
}

fn linker() -> Finding {
    // The static libc is linked in, and comes with the C compiler's development files.
    let found = first_line(Command::new("cc").arg("--version")).and_then(|version| {
        let libc = toolchain::output(Command::new("cc").arg("-print-file-name=libc.a"))?;
        anyhow::ensure!(Path::new(&libc).is_absolute(), "cc has no static libc");
        Ok(version)
    });
    needed("linker", found, "`sudo apt-get install gcc libc6-dev`")
}

fn qemu_version() -> Finding {
    let found = first_line(Command::new(qemu::program()).arg("--version"));
    needed("QEMU", found, "`sudo apt-get install --no-install-recommends qemu-system-x86`")
}

fn accelerator() -> Finding {
    let verdict = match qemu::accel::probe() {
        Ok(pick) if pick.accel == Accel::Kvm => Verdict::Fine(format!("kvm: {}", pick.reason)),
        Ok(pick) => Verdict::Lesser(format!("tcg: {}", pick.reason)),
        Err(error) => Verdict::Lesser(format!("not known: {error}")),
    };
    Finding { what: "accelerator", verdict }
}

fn gdb() -> Finding {
    let verdict = match first_line(Command::new("gdb").arg("--version")) {
        Ok(version) => Verdict::Fine(version),
        Err(_) => Verdict::Lesser(
            "not found: `debug` prints what to start elsewhere; to have it: `sudo apt-get install gdb`"
                .to_owned(),
        ),
    };
    Finding { what: "gdb", verdict }
}

fn needed(what: &'static str, found: Result<String>, remedy: &'static str) -> Finding {
    let verdict = match found {
        Ok(found) => Verdict::Fine(found),
        Err(error) => Verdict::Missing { why: format!("{error:#}"), remedy },
    };
    Finding { what, verdict }
}

fn first_line(command: &mut Command) -> Result<String> {
    Ok(toolchain::output(command)?.lines().next().unwrap_or_default().to_owned())
}
