//! Dependencies follow the layers: `lib` ← `kernel` ← `drivers`, `os` ← `includeos`; `host` uses `lib` alone.

use super::Tree;
use std::path::Path;

/// The layers that the crates of a layer may use. Crates outside of all layers (tests, fuzz targets) may use any.
const LAYERS: &[(&str, &[&str])] = &[
    ("lib", &["lib"]),
    ("kernel", &["lib"]),
    ("drivers", &["lib", "kernel", "drivers"]),
    ("os", &["lib", "kernel", "os"]),
    ("includeos", &["lib", "kernel", "drivers", "os", "includeos"]),
    ("host", &["lib", "host"]),
];

/// Edges beside those, each with its reason.
const EXCEPTIONS: &[(&str, &str, &str)] =
    &[("os/object", "drivers", "it is the place where the prelinked object is put together")];

pub fn check(tree: &Tree, faults: &mut Vec<String>) {
    let root = &tree.metadata.workspace_root;
    for package in &tree.metadata.packages {
        let folder = tree.metadata.folder(package);
        for dependency in &package.dependencies {
            let Some(path) = &dependency.path else { continue };
            let used = path.strip_prefix(root).unwrap_or(path);
            if !allowed(folder, used) {
                faults.push(format!(
                    "{}/Cargo.toml: {} must not use {} ({}): {} may use {}",
                    folder.display(),
                    package.name,
                    dependency.name,
                    used.display(),
                    layer(folder),
                    uses(layer(folder)).unwrap_or_default().join(", "),
                ));
            }
        }
    }
}

fn allowed(user: &Path, used: &Path) -> bool {
    let Some(uses) = uses(layer(user)) else { return true };
    let exception = EXCEPTIONS.iter().any(|(from, to, _)| user == Path::new(from) && used.starts_with(to));
    exception || uses.contains(&layer(used))
}

fn uses(layer: &str) -> Option<&'static [&'static str]> {
    LAYERS.iter().find(|(name, _)| *name == layer).map(|(_, uses)| *uses)
}

/// The first folder of a path from the root.
fn layer(folder: &Path) -> &str {
    folder.components().next().and_then(|first| first.as_os_str().to_str()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downwards_is_allowed() {
        for (user, used) in [
            ("lib/net", "lib/wire"),
            ("kernel", "lib/heap"),
            ("drivers", "kernel"),
            ("os/linux", "kernel"),
            ("os/object", "drivers"),
            ("includeos", "includeos/macros"),
            ("host/xtask", "host/qemu"),
            ("tests/boot", "host/qemu"),
            ("tests/boot", "kernel"),
        ] {
            assert!(allowed(Path::new(user), Path::new(used)), "{user} -> {used}");
        }
    }

    #[test]
    fn upwards_and_sideways_are_faults() {
        for (user, used) in [
            ("lib/net", "kernel"),
            ("kernel", "drivers"),
            ("drivers", "os/linux"),
            ("os/linux", "drivers"),
            ("os/linux", "includeos"),
            ("host/xtask", "kernel"),
            ("lib/abi", "host/qemu"),
        ] {
            assert!(!allowed(Path::new(user), Path::new(used)), "{user} -> {used}");
        }
    }
}
