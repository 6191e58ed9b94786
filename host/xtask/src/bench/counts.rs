//! Counts by the plugin of host/counter.

use super::symbols::Symbols;
use crate::{repo, ui};
use anyhow::{Context, Result, bail};
use qemu::Vm;
use serde::Deserialize;
use std::fs;
use std::path::PathBuf;

/// One line of the plugin's output.
#[derive(Clone, Debug, Deserialize)]
pub struct Counts {
    window: String,
    progress: String,
    /// Guest instructions executed.
    pub instructions: u64,
    /// Octets moved by string instructions.
    pub string_bytes: u64,
    /// Port instructions, and loads and stores that reach a device.
    pub device_accesses: u64,
    /// Blocks that QEMU translated: what a boot's time under TCG mostly is.
    pub blocks: u64,
}

/// The plugin, built.
pub struct Counter {
    library: PathBuf,
    scratch: PathBuf,
}

impl Counter {
    /// Builds the plugin.
    pub fn build() -> Result<Self> {
        ui::run(repo::cargo().args(["build", "--quiet", "--release", "--package", "includeos-counter"]))?;
        let scratch = repo::target_dir().join("bench");
        fs::create_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
        Ok(Self { library: repo::target_dir().join("release/libincludeos_counter.so"), scratch })
    }

    /// Boots an image and counts from its PVH entry to the symbol `main`.
    pub fn entry_to_main(&self, vm: &Vm, symbols: &Symbols) -> Result<Counts> {
        Ok(self.run(vm, symbols, false)?.0)
    }

    /// As [`Self::entry_to_main`], with the histogram's text.
    pub fn histogram(&self, vm: &Vm, symbols: &Symbols) -> Result<(Counts, String)> {
        self.run(vm, symbols, true)
    }

    fn run(&self, vm: &Vm, symbols: &Symbols, with_histogram: bool) -> Result<(Counts, String)> {
        let (out, hist) = (self.scratch.join("counts.json"), self.scratch.join("histogram"));
        let _ = fs::remove_file(&out);
        let (entry, main) = (symbols.pvh_entry, symbols.main()?);
        let mut plugin = format!("{},out={}", option(&self.library)?, option(&out)?);
        plugin += &format!(",window=boot:{entry:#x}:{main:#x}");
        if with_histogram {
            plugin += &format!(",hist={}", option(&hist)?);
        }
        let mut vm = vm.clone();
        vm.extra.extend(["-plugin".into(), plugin.into()]);
        let finished = vm.run()?;
        let told = || format!("{}\nits console:\n{}", finished.outcome, finished.text());
        let text =
            fs::read_to_string(&out).with_context(|| format!("the plugin wrote nothing: {}", told()))?;
        let counts = find(&text, "boot")?;
        if counts.progress != "closed" {
            bail!("{} on {} did not get from its entry to main: {}", vm.kernel.display(), vm.machine, told());
        }
        Ok((counts, if with_histogram { fs::read_to_string(&hist)? } else { String::new() }))
    }
}

/// The line of a window.
fn find(text: &str, window: &str) -> Result<Counts> {
    for line in text.lines() {
        let counts: Counts =
            serde_json::from_str(line).with_context(|| format!("the plugin wrote {line:?}"))?;
        if counts.window == window {
            return Ok(counts);
        }
    }
    bail!("the plugin wrote no line for the window {window}")
}

/// A path as part of a QEMU option, where commas separate.
fn option(path: &std::path::Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_found() {
        let text = "{\"window\":\"total\",\"progress\":\"closed\",\"instructions\":9,\"string_bytes\":8,\
                    \"device_accesses\":7,\"ports\":6,\"mmio\":1,\"blocks\":5}\n\
                    {\"window\":\"boot\",\"progress\":\"open\",\"instructions\":4,\"string_bytes\":3,\
                    \"device_accesses\":2,\"ports\":1,\"mmio\":1,\"blocks\":1}\n";
        let counts = find(text, "boot").unwrap();
        assert_eq!((counts.instructions, counts.string_bytes, counts.device_accesses), (4, 3, 2));
        assert_eq!(counts.progress, "open");
        assert!(find(text, "other").is_err());
        assert!(find("no JSON", "boot").is_err());
    }

    #[test]
    fn commas_in_paths_are_doubled() {
        assert_eq!(option(std::path::Path::new("/a,b/c")).unwrap(), "/a,,b/c");
    }
}
