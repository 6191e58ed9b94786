//! Stands before the linker: links a program, looks at which services it uses, and links it again with these.
//!
//! rustc is told that the linker is a script beside the image, which has the name of the linker it stands for (rustc tells the kind of a
//! linker by that) and calls this tool. Build scripts and procedural macros are linked without it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use abi::service::Service;
use anyhow::{Context, Result};

use crate::kernel_object::write_whole;
use crate::{symbols_used, ui};

/// The first argument when the tool is called as a linker.
const ARGUMENT: &str = "--link";
/// The linker that rustc calls unless told otherwise.
pub const DEFAULT: &str = "cc";

/// Lays the script for `linker` into `folder` and returns its path, which does not change: Cargo builds everything anew when it does.
///
/// # Errors
/// It cannot be written.
pub fn place(folder: &Path, linker: &str) -> Result<PathBuf> {
    let name = Path::new(linker).file_name().unwrap_or(OsStr::new(DEFAULT));
    let path = folder.join("linker").join(name);
    let tool = std::env::current_exe().context("the tool's own file has no name")?;
    let tool = tool.to_str().context("the tool's own path is not Unicode")?;
    let script = format!("#!/bin/sh\nexec {} {ARGUMENT} {} \"$@\"\n", quoted(tool), quoted(linker));
    if !fs::read(&path).is_ok_and(|there| there == script.as_bytes()) {
        write_whole(&path, script.as_bytes())
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(path)
}

/// A word for the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Carries out a call as a linker, and returns its status. `None`: this is none.
pub fn called() -> Option<u8> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != ARGUMENT {
        return None;
    }
    let linker = words.next()?;
    let words: Vec<_> = words.collect();
    Some(link(&linker, &words).unwrap_or_else(|error| {
        ui::error(format!("{error:#}"));
        1
    }))
}

fn link(linker: &OsStr, words: &[OsString]) -> Result<u8> {
    let status = run(linker, words, &[])?;
    let words_said = words_said(words);
    let Some(output) = output(&words_said).filter(|_| status.success()) else { return Ok(code(status)) };
    let elf = fs::read(&output).with_context(|| format!("cannot read {}", output.display()))?;
    let services = symbols_used::services(&elf, &|name| file_of(linker, name), &folders(&words_said));
    if services.is_empty() {
        return Ok(code(status));
    }
    run(linker, words, &services).map(code)
}

/// Links, with these services.
fn run(linker: &OsStr, words: &[OsString], services: &[Service]) -> Result<ExitStatus> {
    let mut command = Command::new(linker);
    command.args(words).args(services.iter().map(|service| format!("-Wl,-u,{}", service.symbol())));
    command.status().with_context(|| format!("the linker {} does not start", linker.display()))
}

/// What a linker calls its file with this name.
fn file_of(linker: &OsStr, name: &str) -> Option<PathBuf> {
    let output = Command::new(linker).arg(format!("-print-file-name={name}")).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    path.is_absolute().then_some(path)
}

/// The words of a command line, with those in the file that it names.
fn words_said(words: &[OsString]) -> Vec<OsString> {
    let file = words.iter().find_map(|word| word.to_str()?.strip_prefix('@'));
    let text = file.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    // A word a line, blanks and quotes with a backslash before them.
    let in_file = text.lines().map(|line| line.trim_matches('"').replace('\\', "").into());
    words.iter().cloned().chain(in_file).collect()
}

/// Where the Rust libraries that are linked lie. The compiler's own is always one of them, and lies beside std, which is not if
/// all is optimised together.
fn folders(words: &[OsString]) -> BTreeSet<PathBuf> {
    let libraries = words.iter().map(Path::new).filter(|word| word.extension() == Some("rlib".as_ref()));
    libraries.filter_map(|library| Some(library.parent()?.to_owned())).collect()
}

/// What is linked: the word behind `-o`.
fn output(words: &[OsString]) -> Option<PathBuf> {
    words.iter().skip_while(|word| *word != "-o").nth(1).map(PathBuf::from)
}

fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_is_behind_its_option() {
        let words = ["-m64", "a.o", "-o", "/a/b c", "-lc"].map(OsString::from);
        assert_eq!(output(&words), Some("/a/b c".into()));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("words");
        fs::write(&file, "-m64\n-o\n/a/b\\ c\n").unwrap();
        assert_eq!(output(&words_said(&[format!("@{}", file.display()).into()])), Some("/a/b c".into()));
        assert_eq!(output(&["-v".into()]), None);
    }

    #[test]
    fn the_script_has_the_name_of_the_linker() {
        let folder = tempfile::tempdir().unwrap();
        let path = place(folder.path(), "/opt/it's/x86_64-linux-gnu-gcc").unwrap();
        assert!(path.ends_with("linker/x86_64-linux-gnu-gcc"), "{}", path.display());
        let script = fs::read_to_string(path).unwrap();
        assert!(script.ends_with("--link '/opt/it'\\''s/x86_64-linux-gnu-gcc' \"$@\"\n"), "{script}");
    }
}
