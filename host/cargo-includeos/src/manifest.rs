//! `[package.metadata.includeos]` of a Cargo.toml: what a project says of its images.

use std::path::PathBuf;

use abi::cmdline::{LogLevel, Settings};
use abi::service::Service;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

/// What the manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The image's own settings: those of the machine it is booted on go before them.
    pub settings: Settings,
    /// Services that are in the image whether or not the linker sees that the program uses them.
    pub services: Vec<Service>,
    /// The folder whose files the image carries.
    pub root: Option<PathBuf>,
}

const KEYS: &str = "net, env, args, log, isolation, root and services";

impl Manifest {
    /// Reads a package's metadata.
    ///
    /// # Errors
    /// The key that is unknown or has a value that is not of its type.
    pub fn read(metadata: &Value) -> Result<Self> {
        let Some(ours) = metadata.get("includeos") else { return Ok(Self::default()) };
        let table = table("", ours)?;
        let mut manifest = Self::default();
        for (key, value) in table {
            manifest.set(key, value).with_context(|| format!("[package.metadata.includeos] {key}"))?;
        }
        Ok(manifest)
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<()> {
        let settings = &mut self.settings;
        match key {
            "net" => settings.net = network(value)?,
            "env" => {
                for (name, value) in table(key, value)? {
                    ensure!(
                        !name.is_empty() && !name.contains(['=', '\0']),
                        "{name:?} is no name of a variable: it must have neither '=' nor NUL in it, and not be empty"
                    );
                    settings.env.push(format!("{name}={}", text(name, value)?));
                }
            }
            "args" => settings.args = list(value)?,
            "log" => {
                let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug];
                let level = text(key, value)?;
                let found = levels.into_iter().find(|known| known.to_string() == level);
                settings.log = Some(found.context("expected \"error\", \"warn\", \"info\" or \"debug\"")?);
            }
            "root" => self.root = Some(text(key, value)?.into()),
            "isolation" => settings.isolation = Some(value.as_bool().context("expected true or false")?),
            "services" => {
                for name in list(value)? {
                    let found = Service::ALL.into_iter().find(|known| known.name() == name);
                    let names = Service::ALL.map(Service::name).join(", ");
                    self.services
                        .push(found.with_context(|| format!("{name:?} is no service; there are: {names}"))?);
                }
            }
            _ => bail!("there is no such key; there are {KEYS}"),
        }
        Ok(())
    }
}

/// `[package.metadata.includeos.net]`: a key for each interface and setting, as `net.NAME=VALUE` of the command line, which the
/// image reads.
fn network(value: &Value) -> Result<Vec<String>> {
    let mut config = net::config::Config::default();
    let mut words = Vec::new();
    for (name, value) in table("net", value)? {
        let value = match value {
            Value::Bool(on) => (if *on { "on" } else { "off" }).to_owned(),
            value => text(name, value)?.to_owned(),
        };
        let word = format!("net.{name}={value}");
        config.set(&word)?;
        words.push(word);
    }
    Ok(words)
}

fn table<'a>(key: &str, value: &'a Value) -> Result<&'a Map<String, Value>> {
    value.as_object().with_context(|| format!("{key}: expected a table"))
}

fn text<'a>(key: &str, value: &'a Value) -> Result<&'a str> {
    let text = value.as_str().with_context(|| format!("{key}: expected a text in quotes"))?;
    ensure!(!text.contains('\0'), "{key}: a text with a NUL in it cannot be handed to a program");
    Ok(text)
}

fn list(value: &Value) -> Result<Vec<String>> {
    let texts = value.as_array().context("expected a list of texts")?;
    texts.iter().map(|value| text("a part of it", value).map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<Manifest> {
        let table: toml::Table = toml.parse()?;
        Manifest::read(&serde_json::to_value(table)?)
    }

    #[test]
    fn everything_at_once() {
        let manifest = read(
            "[includeos]\nlog = 'info'\nisolation = true\nargs = ['--port', '80 or so']\nservices = ['net']\n\
             [includeos.env]\nRUST_LOG = 'debug'\n\
             [includeos.net]\neth0 = '10.0.0.2/24,gw=10.0.0.1'\nforward = true\nhostname = 'web1'\n",
        )
        .unwrap();
        let line = "env=RUST_LOG=debug log=info isolation=on net.eth0=10.0.0.2/24,gw=10.0.0.1 net.forward=on \
                    net.hostname=web1 -- --port \"80 or so\"";
        assert_eq!(manifest.settings.to_string(), line);
        assert_eq!(manifest.services, [Service::Net]);
    }

    #[test]
    fn a_tree_is_a_folder() {
        assert_eq!(read("includeos.root = 'files'").unwrap().root, Some("files".into()));
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(read("").unwrap(), Manifest::default());
        assert_eq!(read("[docs.rs]\nall-features = true").unwrap(), Manifest::default());
        assert_eq!(Manifest::read(&Value::Null).unwrap(), Manifest::default());
    }

    #[test]
    fn errors_name_the_key() {
        for (wrong, part) in [
            ("includeos = 1", "expected a table"),
            ("[includeos]\nargs = [\"a\\u0000b\"]", "NUL"),
            ("[includeos.env]\n'' = 'b'", "\"\" is no name"),
            ("[includeos.env]\n'A=B' = 'c'", "\"A=B\" is no name"),
            ("[includeos.env]\nA = \"\\u0000\"", "A: a text with a NUL"),
            ("[includeos]\nnetwork = {}", "network"),
            ("[includeos]\nlog = 'loud'", "log"),
            ("[includeos]\nlog = 1", "quotes"),
            ("[includeos]\nroot = 1", "quotes"),
            ("[includeos]\nisolation = 'on'", "true or false"),
            ("[includeos]\nservices = ['disks']", "\"disks\" is no service"),
            ("[includeos.net]\neth0 = '10.0.0.300/24'", "10.0.0.300/24"),
            ("[includeos.net]\neth0 = 1", "eth0"),
            ("[includeos.net]\nwifi = 'on'", "wifi"),
        ] {
            let error = format!("{:#}", read(wrong).unwrap_err());
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }
}
