//! Which accelerator works here, found out by booting a probe.
//!
//! That `/dev/kvm` exists says little: it may be closed to this user, or belong to a nested host that cannot run a
//! guest. So the floor kernel is booted under KVM, and KVM is used if its letter arrives. The answer holds until
//! the host boots again or QEMU changes, and is kept in the user's cache folder.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use crate::floor;
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::vm::{Accel, Vm, program};

/// How long a working KVM may take for a guest of 14 octets.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The accelerator to use, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// The accelerator.
    pub accel: Accel,
    /// Why, as a sentence for people.
    pub reason: String,
}

/// Picks the accelerator: the remembered answer if there is one, otherwise a probe of at most two seconds, before
/// which `before_probe` is called.
///
/// # Errors
/// QEMU is not there, or the probe cannot be written.
pub fn pick(before_probe: impl FnOnce()) -> Result<Pick, Error> {
    let cache = cache_file();
    let key = key();
    if let (Some(cache), Some(key)) = (&cache, &key)
        && let Some(pick) = recall(cache, key)
    {
        return Ok(pick);
    }
    before_probe();
    let pick = probe()?;
    if let (Some(cache), Some(key)) = (&cache, &key) {
        remember(cache, key, &pick);
    }
    Ok(pick)
}

/// Boots the probe, whatever is remembered.
///
/// # Errors
/// QEMU is not there, or the probe cannot be written.
pub fn probe() -> Result<Pick, Error> {
    let tcg = |reason: String| Pick { accel: Accel::Tcg, reason };
    if let Err(error) = fs::File::options().read(true).write(true).open("/dev/kvm") {
        return Ok(tcg(match error.kind() {
            std::io::ErrorKind::NotFound => "/dev/kvm does not exist".to_owned(),
            std::io::ErrorKind::PermissionDenied => {
                "/dev/kvm is closed to this user (remedy: `sudo usermod -aG kvm $USER`, then log in again)"
                    .to_owned()
            }
            _ => format!("/dev/kvm: {error}"),
        }));
    }
    let dir = tempfile::tempdir().map_err(|e| Error::Host("cannot make a folder for the probe", e))?;
    let image = dir.path().join("floor");
    floor::write(&image).map_err(|e| Error::Host("cannot write the probe", e))?;
    let mut vm = Vm::new(&image);
    vm.accel = Accel::Kvm;
    vm.machine = Machine::Microvm;
    vm.pass_clock = false;
    vm.timeout = Some(PROBE_TIMEOUT);
    let finished = vm.run()?;
    Ok(match finished.outcome {
        Outcome::DebugExit(floor::EXIT_VALUE) if finished.console == [floor::LETTER] => {
            Pick { accel: Accel::Kvm, reason: "a probe booted under KVM".to_owned() }
        }
        Outcome::TimedOut(_) => tcg("/dev/kvm exists, but a probe did not boot under it".to_owned()),
        Outcome::QemuFailed { stderr, .. } => {
            tcg(format!("KVM refused a probe: {}", stderr.lines().next().unwrap_or("no reason given")))
        }
        other => tcg(format!("/dev/kvm exists, but under it {other}")),
    })
}

/// What an answer depends on: this boot of the host, and the QEMU program.
fn key() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let program = find_in_path(&program())?;
    let meta = fs::metadata(&program).ok()?;
    Some(format!("{} {} {} {}", boot.trim(), program.display(), meta.len(), meta.mtime()))
}

fn find_in_path(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return Some(program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| candidate.is_file())
}

fn cache_file() -> Option<PathBuf> {
    let dir = |name| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let cache = dir("XDG_CACHE_HOME").or_else(|| Some(dir("HOME")?.join(".cache")))?;
    Some(cache.join("includeos").join("accelerator"))
}

/// Three lines: the key, the accelerator, the reason.
fn recall(cache: &Path, key: &str) -> Option<Pick> {
    let text = fs::read_to_string(cache).ok()?;
    let mut lines = text.lines();
    let accel = (lines.next()? == key).then(|| lines.next())??;
    let accel = [Accel::Tcg, Accel::Kvm].into_iter().find(|a| a.to_string() == accel)?;
    Some(Pick { accel, reason: lines.next()?.to_owned() })
}

/// A cache that cannot be written costs the next start a probe, nothing else.
fn remember(cache: &Path, key: &str, pick: &Pick) {
    let Some(dir) = cache.parent() else { return };
    let text = format!("{key}\n{}\n{}\n", pick.accel, pick.reason);
    let _ = fs::create_dir_all(dir).and_then(|()| {
        let new = cache.with_extension(std::process::id().to_string());
        fs::write(&new, text)?;
        fs::rename(&new, cache)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_its_key_alone() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("new").join("accelerator");
        let pick = Pick { accel: Accel::Kvm, reason: "it answered".to_owned() };
        assert_eq!(recall(&cache, "boot 1"), None);
        remember(&cache, "boot 1", &pick);
        assert_eq!(recall(&cache, "boot 1"), Some(pick));
        assert_eq!(recall(&cache, "boot 2"), None);
    }

    #[test]
    fn a_damaged_cache_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("accelerator");
        for text in ["", "key", "key\nhvf\nwhy\n", "key\nkvm"] {
            fs::write(&cache, text).unwrap();
            assert_eq!(recall(&cache, "key"), None, "{text:?}");
        }
    }
}
