//! Counts by the plugin of host/counter.

use super::symbols::Symbols;
use crate::{repo, ui};
use anyhow::{Context, Result, bail};
use qemu::Vm;
use serde::Deserialize;
use std::fs;
use std::path::PathBuf;

/// The name that the plugin gives to what is counted between two marks.
const SECTION: &str = "section";

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
        Ok(self.count_boot(vm, symbols, false)?.0)
    }

    /// As [`Self::entry_to_main`], with the histogram's text.
    pub fn histogram(&self, vm: &Vm, symbols: &Symbols) -> Result<(Counts, String)> {
        self.count_boot(vm, symbols, true)
    }

    /// Boots a program that marks what is to be counted. Returns the sections in their order, and in words how the
    /// machine ended, with its console.
    pub fn sections(&self, vm: &Vm) -> Result<(Vec<Counts>, String)> {
        let Counted { lines, told, .. } = self.run(vm, "", false)?;
        Ok((lines.into_iter().filter(|line| line.window == SECTION).collect(), told))
    }

    /// Boots a program that marks what is to be counted, for the first section's histogram.
    pub fn section_histogram(&self, vm: &Vm) -> Result<Counted> {
        self.run(vm, "", true)
    }

    /// Counts all that a machine does while `run` has it.
    pub fn total<T>(&self, vm: &Vm, run: impl FnOnce(&Vm) -> Result<T>) -> Result<(Counts, T)> {
        let mut vm = vm.clone();
        let out = self.attach(&mut vm, "")?;
        let result = run(&vm)?;
        let text = fs::read_to_string(&out).context("the plugin wrote nothing")?;
        let total = read(&text)?.into_iter().find(|line| line.window == "total");
        Ok((total.context("the plugin wrote no total")?, result))
    }

    /// Where instructions went from the first time at `from` to the machine's end, while `run` has it: the histogram's text.
    pub fn histogram_from(&self, vm: &Vm, from: u64, run: impl FnOnce(&Vm) -> Result<()>) -> Result<String> {
        let hist = self.scratch.join("histogram");
        let mut vm = vm.clone();
        // The window ends nowhere.
        self.attach(
            &mut vm,
            &format!(",window=program:{from:#x}:0xffffffffffffffff,hist={}", option(&hist)?),
        )?;
        run(&vm)?;
        fs::read_to_string(&hist).context("the plugin wrote no histogram")
    }

    /// Adds the plugin to a machine; returns where it will write.
    fn attach(&self, vm: &mut Vm, arguments: &str) -> Result<PathBuf> {
        let out = self.scratch.join("counts.json");
        let _ = fs::remove_file(&out);
        let plugin = format!("{},out={}{arguments}", option(&self.library)?, option(&out)?);
        vm.extra.extend(["-plugin".into(), plugin.into()]);
        Ok(out)
    }

    fn count_boot(&self, vm: &Vm, symbols: &Symbols, with_histogram: bool) -> Result<(Counts, String)> {
        let window = format!(",window=boot:{:#x}:{:#x}", symbols.pvh_entry, symbols.main()?);
        let Counted { lines, histogram, told } = self.run(vm, &window, with_histogram)?;
        let boot = lines.into_iter().find(|line| line.window == "boot");
        let counts = boot.context("the plugin wrote no line for the boot")?;
        if counts.progress != "closed" {
            bail!("{} on {} did not get from its entry to main: {told}", vm.kernel.display(), vm.machine);
        }
        Ok((counts, histogram))
    }

    fn run(&self, vm: &Vm, windows: &str, with_histogram: bool) -> Result<Counted> {
        let hist = self.scratch.join("histogram");
        let mut arguments = windows.to_owned();
        if with_histogram {
            arguments += &format!(",hist={}", option(&hist)?);
        }
        let mut vm = vm.clone();
        let out = self.attach(&mut vm, &arguments)?;
        let finished = vm.run()?;
        let told = format!("{}\nits console:\n{}", finished.outcome, finished.text());
        let text = fs::read_to_string(&out).with_context(|| format!("the plugin wrote nothing: {told}"))?;
        let histogram = if with_histogram { fs::read_to_string(&hist)? } else { String::new() };
        Ok(Counted { lines: read(&text)?, histogram, told })
    }
}

/// What the plugin wrote, and how the machine ended, in words.
pub struct Counted {
    lines: Vec<Counts>,
    /// Counts by address, where they were asked for.
    pub histogram: String,
    /// How the machine ended, and its console.
    pub told: String,
}

fn read(text: &str) -> Result<Vec<Counts>> {
    let counts = |line| serde_json::from_str(line).with_context(|| format!("the plugin wrote {line:?}"));
    text.lines().map(counts).collect()
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
    fn lines_are_read() {
        let text = "{\"window\":\"total\",\"progress\":\"closed\",\"instructions\":9,\"string_bytes\":8,\
                    \"device_accesses\":7,\"ports\":6,\"mmio\":1,\"blocks\":5}\n\
                    {\"window\":\"boot\",\"progress\":\"open\",\"instructions\":4,\"string_bytes\":3,\
                    \"device_accesses\":2,\"ports\":1,\"mmio\":1,\"blocks\":1}\n";
        let lines = read(text).unwrap();
        let Counts { window, progress, instructions, string_bytes, device_accesses, .. } = &lines[1];
        assert_eq!((window.as_str(), progress.as_str()), ("boot", "open"));
        assert_eq!((*instructions, *string_bytes, *device_accesses), (4, 3, 2));
        assert!(read("no JSON").is_err());
    }

    #[test]
    fn commas_in_paths_are_doubled() {
        assert_eq!(option(std::path::Path::new("/a,b/c")).unwrap(), "/a,,b/c");
    }
}
