//! The Cargo project in the working folder: what it holds, and which program is meant.

use std::path::{Path, PathBuf};

use abi::service::Service;
use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, Package, PackageId, Target, TargetKind};
use toml::{Table, Value};

use crate::cli::Selection;
use crate::config::Config;
use crate::manifest::Manifest;
use crate::rustflags::env_name;
use crate::toolchain;

/// The project.
pub struct Project {
    metadata: Metadata,
    /// Cargo's configuration.
    pub config: Config,
    /// Folder for everything that is built.
    pub target_dir: PathBuf,
}

/// One program of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Package.
    pub package: String,
    /// Name of the program.
    pub name: String,
    /// Whether it is an example.
    pub is_example: bool,
}

impl Project {
    /// Reads the project that `selection` means.
    pub fn load(selection: &Selection) -> Result<Self> {
        let folder = std::env::current_dir().context("the working folder is gone")?;
        let config = Config::load(&folder, cargo_home().as_deref(), &selection.config)?;
        let mut cargo = toolchain::cargo();
        cargo.args(["metadata", "--no-deps", "--format-version=1"]);
        if let Some(path) = &selection.manifest_path {
            cargo.arg("--manifest-path").arg(path);
        }
        cargo.args(selection.config.iter().flat_map(|value| ["--config", value]));
        let text = toolchain::output(&mut cargo)?;
        let metadata: Metadata = cargo_metadata::MetadataCommand::parse(&text)
            .context("cannot read what `cargo metadata` says")?;
        let target_dir = match &selection.target_dir {
            Some(dir) => folder.join(dir),
            None => metadata.target_directory.clone().into(),
        };
        Ok(Self { metadata, config, target_dir })
    }

    /// Folders where Cargo keeps what it has built.
    pub fn build_dirs(&self) -> impl Iterator<Item = &Path> {
        let build_dir = self.metadata.build_directory.as_deref().map(|dir| dir.as_std_path());
        let apart = build_dir.filter(|dir| *dir != self.target_dir);
        [Some(self.target_dir.as_path()), apart].into_iter().flatten()
    }

    /// The one program that `run` means, by Cargo's rules.
    pub fn program(&self, selection: &Selection) -> Result<Program> {
        let packages = self.packages(selection)?;
        let all = |kind: TargetKind| {
            packages.iter().flat_map(move |package| {
                let targets: Vec<_> = package.targets.iter().filter(|t| t.kind.contains(&kind)).collect();
                targets.into_iter().map(|target| (*package, target)).collect::<Vec<_>>()
            })
        };
        let choose = |kind: TargetKind, what: &str, name: &str| {
            let names: Vec<String> = all(kind.clone()).map(|(_, target)| target.name.clone()).collect();
            let found = all(kind).find(|(_, target)| target.name == name);
            found.map(|(package, target)| program(package, target)).with_context(|| {
                let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                format!("no {what} is named `{name}`; there are: {there}")
            })
        };
        if let Some(name) = &selection.example {
            return choose(TargetKind::Example, "example", name);
        }
        if let Some(name) = &selection.bin {
            return choose(TargetKind::Bin, "program", name);
        }
        if let [package] = packages[..]
            && let Some(name) = &package.default_run
        {
            return choose(TargetKind::Bin, "program (the package's default-run)", name);
        }
        let programs: Vec<_> = all(TargetKind::Bin).collect();
        match programs[..] {
            [] => bail!("the project has no program to run; remedy: `src/main.rs`, or `--example NAME`"),
            [(package, target)] => Ok(program(package, target)),
            _ => {
                let names: Vec<_> = programs.iter().map(|(_, target)| target.name.as_str()).collect();
                bail!("the project has several programs; remedy: `--bin` with one of {}", names.join(", "))
            }
        }
    }

    /// What the package of a built program says of its image.
    pub fn manifest(&self, package: &PackageId) -> Result<Manifest> {
        let package = self.metadata.packages.iter().find(|known| known.id == *package);
        package.map_or_else(|| Ok(Manifest::default()), of_package)
    }

    /// The folder of a package of the project.
    ///
    /// # Errors
    /// It is not one of the project's.
    pub fn folder(&self, package: &PackageId) -> Result<&Path> {
        let manifest = &self.package(package)?.manifest_path;
        manifest.parent().map(|folder| folder.as_std_path()).context("a manifest is in a folder")
    }

    /// A package of the project.
    ///
    /// # Errors
    /// It is not one of the project's.
    pub fn package(&self, package: &PackageId) -> Result<&Package> {
        let found = self.metadata.packages.iter().find(|known| known.id == *package);
        found.with_context(|| format!("{package} is no package of the project"))
    }

    /// Services that the selected packages ask for.
    pub fn services(&self, selection: &Selection) -> Result<Vec<Service>> {
        let manifests = self.packages(selection)?.into_iter().map(of_package).collect::<Result<Vec<_>>>()?;
        let mut services: Vec<Service> = Vec::new();
        for service in manifests.into_iter().flat_map(|manifest| manifest.services) {
            if !services.contains(&service) {
                services.push(service);
            }
        }
        Ok(services)
    }

    fn packages(&self, selection: &Selection) -> Result<Vec<&Package>> {
        let Some(name) = &selection.package else { return Ok(self.metadata.workspace_default_packages()) };
        let members = self.metadata.workspace_packages();
        // A package id specification may carry a version or a URL; its name is what is at the end.
        let wanted = name.rsplit(['#', '/']).next().unwrap_or(name).split('@').next().unwrap_or(name);
        let found: Vec<_> =
            members.iter().copied().filter(|package| package.name.as_str() == wanted).collect();
        if found.is_empty() {
            let names: Vec<_> = members.iter().map(|package| package.name.to_string()).collect();
            bail!("no package of the project is named `{name}`; there are: {}", names.join(", "));
        }
        Ok(found)
    }

    /// The value of `debug` that a profile lacks to show lines in reports. `None`: the user set one, or the
    /// profile's default shows them.
    pub fn missing_debug(&self, profile: &str) -> Result<Option<&'static str>> {
        let path = self.metadata.workspace_root.join("Cargo.toml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let manifest: Table = text.parse().with_context(|| format!("{path} is not TOML"))?;
        let env = |name: &str| std::env::var_os(name).is_some();
        Ok(missing_debug(profile, &manifest, &self.config, &env))
    }
}

fn of_package(package: &Package) -> Result<Manifest> {
    let mut manifest =
        Manifest::read(&package.metadata).with_context(|| package.manifest_path.to_string())?;
    // A folder is named from where the manifest is.
    manifest.root = manifest.root.map(|root| package.manifest_path.as_std_path().with_file_name(root));
    Ok(manifest)
}

fn missing_debug(
    profile: &str,
    manifest: &Table,
    config: &Config,
    env: &dyn Fn(&str) -> bool,
) -> Option<&'static str> {
    let mut name = profile.to_owned();
    // A profile that inherits in a circle is Cargo's to refuse.
    for _ in 0..16 {
        let of_manifest =
            manifest.get("profile").and_then(|profiles| profiles.get(&name)).and_then(Value::as_table);
        let of_config = config.get(&["profile", &name]).and_then(Value::as_table);
        let set = |key: &str| [of_config, of_manifest].into_iter().flatten().find_map(|table| table.get(key));
        if set("debug").is_some() || env(&format!("CARGO_PROFILE_{}_DEBUG", env_name(&name))) {
            return None;
        }
        name = match (name.as_str(), set("inherits").and_then(Value::as_str)) {
            ("dev" | "test", _) => return None,
            ("release" | "bench", _) => return Some("line-tables-only"),
            (_, Some(parent)) => parent.to_owned(),
            (_, None) => return None,
        };
    }
    None
}

fn program(package: &Package, target: &Target) -> Program {
    Program {
        package: package.name.to_string(),
        name: target.name.clone(),
        is_example: target.kind.contains(&TargetKind::Example),
    }
}

fn cargo_home() -> Option<PathBuf> {
    let dir = |name| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    dir("CARGO_HOME").or_else(|| Some(dir("HOME")?.join(".cargo")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(profile: &str, manifest: &str, env: &[&str]) -> Option<&'static str> {
        let manifest = manifest.parse().unwrap();
        missing_debug(profile, &manifest, &Config::default(), &|name| env.contains(&name))
    }

    #[test]
    fn lines_are_added_where_the_user_left_it_open() {
        assert_eq!(missing("release", "", &[]), Some("line-tables-only"));
        assert_eq!(missing("release", "[profile.release]\nlto = true", &[]), Some("line-tables-only"));
        assert_eq!(missing("dev", "", &[]), None, "has them by default");
        let small = "[profile.small]\ninherits = 'release'\nopt-level = 'z'";
        assert_eq!(missing("small", small, &[]), Some("line-tables-only"));
    }

    #[test]
    fn the_users_word_stands() {
        assert_eq!(missing("release", "[profile.release]\ndebug = 2", &[]), None);
        assert_eq!(missing("release", "[profile.release]\ndebug = false", &[]), None);
        assert_eq!(missing("release", "", &["CARGO_PROFILE_RELEASE_DEBUG"]), None);
        let chain = "[profile.small]\ninherits = 'release'\n[profile.release]\ndebug = 1";
        assert_eq!(missing("small", chain, &[]), None, "inherited");
        assert_eq!(
            missing("my-own", "[profile.my-own]\ninherits='release'", &["CARGO_PROFILE_MY_OWN_DEBUG"]),
            None
        );
    }
}
