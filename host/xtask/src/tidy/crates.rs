//! What every crate says at its top: in its manifest and in its first source file.

use super::Tree;
use std::path::Path;

/// Crates of `lib/` that may have unsafe code, each checked under Miri or loom.
const UNSAFE_LIBS: &[&str] = &["lib/frame", "lib/heap", "lib/sync"];
/// Crates of `os/` that may have unsafe code: the object is the linker's view of the kernel.
const UNSAFE_OS: &[&str] = &["os/object"];

/// Crates of `lib/` forbid unsafe code, crates of `os/` deny it, save for those above.
pub fn check_unsafe(tree: &Tree, faults: &mut Vec<String>) {
    for package in &tree.metadata.packages {
        let folder = tree.metadata.folder(package);
        let Some(attributes) = wanted(folder) else { continue };
        for target in &package.targets {
            if !target.kind.iter().any(|kind| kind.ends_with("lib") || kind == "bin") {
                continue;
            }
            let path =
                target.src_path.strip_prefix(&tree.metadata.workspace_root).unwrap_or(&target.src_path);
            let text = tree.file(path).unwrap_or_default();
            if !attributes.iter().any(|attribute| text.lines().any(|line| line.trim_end() == *attribute)) {
                faults.push(format!("{}: lacks {}", path.display(), attributes[0]));
            }
        }
    }
}

/// The attributes of which one must stand in the crate's first file.
fn wanted(folder: &Path) -> Option<&'static [&'static str]> {
    let is = |crates: &[&str]| crates.iter().any(|name| folder == Path::new(name));
    if folder.starts_with("lib") && !is(UNSAFE_LIBS) {
        Some(&["#![forbid(unsafe_code)]"])
    } else if folder.starts_with("os") && !is(UNSAFE_OS) {
        Some(&["#![deny(unsafe_code)]", "#![forbid(unsafe_code)]"])
    } else {
        None
    }
}

/// Every crate of the workspace inherits the workspace's lints.
pub fn check_lints(tree: &Tree, faults: &mut Vec<String>) {
    for package in &tree.metadata.packages {
        let path = tree.metadata.folder(package).join("Cargo.toml");
        if !inherits_lints(tree.file(&path).unwrap_or_default()) {
            faults.push(format!("{}: lacks `workspace = true` under [lints]", path.display()));
        }
    }
}

fn inherits_lints(manifest: &str) -> bool {
    let mut section = "";
    manifest.lines().map(|line| line.split('#').next().unwrap_or("").trim()).any(|line| {
        if line.starts_with('[') {
            section = line;
        }
        let words = line.replace(' ', "");
        section == "[lints]" && words == "workspace=true"
            || section.is_empty() && words == "lints.workspace=true"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lints_are_inherited_by_either_spelling() {
        assert!(inherits_lints("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"));
        assert!(inherits_lints("lints.workspace = true # all\n[package]\n"));
        assert!(!inherits_lints("[package]\nworkspace = true\n"));
        assert!(!inherits_lints("[lints]\n# workspace = true\n"));
        assert!(!inherits_lints("[lints]\n[dependencies]\nworkspace = true\n"));
    }

    #[test]
    fn only_the_marked_crates_may_be_unsafe() {
        assert_eq!(wanted(Path::new("lib/abi")), Some(&["#![forbid(unsafe_code)]"][..]));
        assert_eq!(wanted(Path::new("lib/heap")), None);
        assert!(wanted(Path::new("os/linux")).is_some());
        assert_eq!(wanted(Path::new("os/object")), None);
        assert_eq!(wanted(Path::new("kernel")), None);
    }
}
