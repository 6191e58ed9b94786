//! Cargo's configuration, merged as Cargo merges it.
//!
//! Cargo has no stable command that prints it, and our flags must be added to the user's, so that the files are
//! read here: `.cargo/config.toml` of the working folder and of every folder above, then that of Cargo's home, and
//! the values of `--config` over all of them. Arrays are joined, what has precedence coming last.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

/// The merged configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    table: Table,
}

impl Config {
    /// Reads the configuration that holds in `folder`; `arguments` are the values of `--config`.
    pub fn load(folder: &Path, cargo_home: Option<&Path>, arguments: &[String]) -> Result<Self> {
        let mut folders: Vec<PathBuf> = folder.ancestors().map(|dir| dir.join(".cargo")).collect();
        // Cargo's home counts once, in its place if it is above the folder.
        folders.extend(cargo_home.map(Path::to_owned).filter(|home| !folders.contains(home)));
        let mut config = Self::default();
        for folder in folders.iter().rev() {
            let file = [folder.join("config"), folder.join("config.toml")].into_iter().find(|f| f.is_file());
            if let Some(file) = file {
                merge(&mut config.table, read(&file)?);
            }
        }
        for argument in arguments {
            let file = folder.join(argument);
            let table = if file.is_file() {
                read(&file)?
            } else {
                argument
                    .parse()
                    .with_context(|| format!("--config {argument:?} is neither a file nor TOML"))?
            };
            merge(&mut config.table, table);
        }
        Ok(config)
    }

    /// The value at a path of keys.
    pub fn get(&self, path: &[&str]) -> Option<&Value> {
        let (last, tables) = path.split_last()?;
        let mut table = &self.table;
        for key in tables {
            table = table.get(*key)?.as_table()?;
        }
        table.get(*last)
    }

    /// The text at a path of keys.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        self.get(path)?.as_str()
    }

    /// The tables under `target`, by triple or `cfg(...)`.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &Table)> {
        let targets = self.table.get("target").and_then(Value::as_table);
        targets.into_iter().flatten().filter_map(|(name, value)| Some((name.as_str(), value.as_table()?)))
    }
}

/// Words of a value that may be a list or one text with blanks, as Cargo allows for flags.
pub fn words(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
        Value::Array(values) => values.iter().filter_map(|v| Some(v.as_str()?.to_owned())).collect(),
        _ => Vec::new(),
    }
}

/// Reads a file and what it includes; the file has precedence over its includes.
fn read(file: &Path) -> Result<Table> {
    let mut table = read_nested(file, 0)?;
    // A linker with a slash in its path is named from the folder that `.cargo` is in.
    let folder = file.ancestors().nth(2).unwrap_or(file);
    let targets = table.get_mut("target").and_then(Value::as_table_mut);
    for (_, target) in targets.into_iter().flatten() {
        if let Some(Value::String(linker)) = target.get_mut("linker")
            && linker.contains('/')
        {
            *linker = folder.join(&linker).display().to_string();
        }
    }
    Ok(table)
}

fn read_nested(file: &Path, depth: u32) -> Result<Table> {
    if depth > 8 {
        bail!("{}: `include` goes in a circle", file.display());
    }
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut own: Table = text.parse().with_context(|| format!("{} is not TOML", file.display()))?;
    let includes = match own.remove("include") {
        Some(Value::Array(values)) => values,
        Some(value) => vec![value],
        None => Vec::new(),
    };
    let mut table = Table::new();
    for include in &includes {
        let path = include.as_str().or_else(|| include.get("path")?.as_str());
        let optional = include.get("optional").and_then(Value::as_bool).unwrap_or(false);
        let Some(path) = path.map(|path| file.with_file_name(path)) else { continue };
        if !optional || path.is_file() {
            merge(&mut table, read_nested(&path, depth + 1)?);
        }
    }
    merge(&mut table, own);
    Ok(table)
}

/// Lays `over` on top of `base`.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            (Some(Value::Array(base)), Value::Array(over)) => base.extend(over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn flags(config: &Config) -> Vec<String> {
        config.get(&["build", "rustflags"]).map(words).unwrap_or_default()
    }

    #[test]
    fn nearer_files_come_later_and_arguments_last() {
        let root = tempfile::tempdir().unwrap();
        let (home, inner) = (root.path().join("home"), root.path().join("a/b"));
        fs::create_dir_all(&inner).unwrap();
        write(&home.join("config.toml"), "build.rustflags = ['home']\nbuild.jobs = 1");
        write(&root.path().join("a/.cargo/config.toml"), "build.rustflags = ['outer']");
        write(&inner.join(".cargo/config.toml"), "build.rustflags = ['inner']\nbuild.jobs = 2");
        let config = Config::load(&inner, Some(&home), &["build.rustflags=['argument']".to_owned()]).unwrap();
        assert_eq!(flags(&config), ["home", "outer", "inner", "argument"]);
        assert_eq!(config.get(&["build", "jobs"]).and_then(Value::as_integer), Some(2));
    }

    #[test]
    fn a_linker_is_named_from_where_its_file_is() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        write(
            &root.path().join("a/.cargo/config.toml"),
            "target.x.linker = '.cargo/cc'\ntarget.y.linker = 'cc'",
        );
        let config = Config::load(&inner, None, &[]).unwrap();
        let linker = |target| config.text(&["target", target, "linker"]).unwrap().to_owned();
        assert_eq!(linker("x"), root.path().join("a/.cargo/cc").display().to_string());
        assert_eq!(linker("y"), "cc");
    }

    #[test]
    fn includes_lie_under_their_file() {
        let root = tempfile::tempdir().unwrap();
        let cargo = root.path().join(".cargo");
        write(
            &cargo.join("config.toml"),
            "include = ['a.toml', {path='none.toml', optional=true}]\nbuild.rustflags=['own']",
        );
        write(&cargo.join("a.toml"), "build.rustflags = ['included']");
        assert_eq!(flags(&Config::load(root.path(), None, &[]).unwrap()), ["included", "own"]);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let root = tempfile::tempdir().unwrap();
        write(&root.path().join(".cargo/config.toml"), "build = ");
        let error = Config::load(root.path(), None, &[]).unwrap_err().to_string();
        assert!(error.contains("config.toml"), "{error}");
    }

    #[test]
    fn flags_are_a_list_or_a_text() {
        assert_eq!(words(&Value::from("-A  -B")), ["-A", "-B"]);
        assert_eq!(words(&Value::from(vec!["-C", "a b"])), ["-C", "a b"]);
    }
}
