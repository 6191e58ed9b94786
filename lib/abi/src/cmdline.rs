//! The kernel command line: typed settings, then the program's arguments.
//!
//! ```text
//! tsc_hz=2400000000 wall_ns=1790000000000000000 env=RUST_LOG=debug -- --port 80 "two words"
//! ```
//!
//! Words are separated by blanks. A word, or a part of it, may stand in double quotes; inside them `\"` and `\\`
//! are a quote and a backslash. Words before `--` are settings, words after it are `argv[1..]`. A setting that is
//! unknown or malformed is an error that names it.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// What can be set for an image at start. `None` and empty: not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `tsc_hz=`: rate of the time-stamp counter in Hz, where the machine does not tell it.
    pub tsc_hz: Option<u64>,
    /// `wall_ns=`: UNIX time in nanoseconds when the machine was started (when the time-stamp counter was 0).
    pub wall_ns: Option<u64>,
    /// `argv0=`: the program's own name.
    pub argv0: Option<String>,
    /// `env=NAME=VALUE`, any number of times.
    pub env: Vec<String>,
    /// `log=error|warn|info|debug`: which of the kernel's own messages reach the console. Default: `warn`.
    pub log: Option<LogLevel>,
    /// `isolation=on|off`: whether the program runs at ring 3, apart from the kernel. Default: `off`.
    pub isolation: Option<bool>,
    /// `root=ro|rw`: whether files of the image's tree can be changed, in memory. Default: `ro`.
    pub root_writable: Option<bool>,
    /// `cwd=`: the program's working directory. Default: `/`.
    pub cwd: Option<String>,
    /// `net.NAME=VALUE`, any number of times, as they stand: the network reads them (`net::config`).
    pub net: Vec<String>,
    /// `virtio_mmio.device=SIZE@ADDRESS:LINE`, any number of times, as Linux has it: where virtio devices are on machines
    /// whose tables do not say so.
    pub virtio_mmio: Vec<VirtioMmio>,
    /// Words after `--`.
    pub args: Vec<String>,
}

/// The registers of a virtio device in memory, and its interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioMmio {
    /// Octets of registers.
    pub len: u64,
    /// Physical address of the first one.
    pub base: u64,
    /// The interrupt line: an I/O APIC input.
    pub irq: u32,
}

impl VirtioMmio {
    /// `512@0xfeb00000:5`: the size with `K` or `M` or without, numbers decimal or hexadecimal; Linux's further part, a number
    /// for its own use, is let pass.
    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        let (size, place) = text.split_once('@')?;
        let (digits, factor) = match size.as_bytes().last()? {
            b'k' | b'K' => (&size[..size.len() - 1], 1 << 10),
            b'm' | b'M' => (&size[..size.len() - 1], 1 << 20),
            _ => (size, 1),
        };
        let mut parts = place.split(':');
        let (base, irq) = (number(parts.next()?)?, number(parts.next()?)?);
        parts.next().map_or(Some(0), number)?;
        let len = number(digits)?.checked_mul(factor).filter(|len| *len > 0)?;
        base.checked_add(len)?;
        let irq = u32::try_from(irq).ok()?;
        parts.next().is_none().then_some(Self { len, base, irq })
    }
}

impl fmt::Display for VirtioMmio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:#x}:{}", self.len, self.base, self.irq)
    }
}

/// Which of the kernel's own messages reach the console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What ends the image.
    Error,
    /// What the program will notice: a call that is not implemented, a device that is missing.
    #[default]
    Warn,
    /// What was found at boot.
    Info,
    /// What helps to find a fault of the kernel.
    Debug,
}

/// A command line that cannot be used, and the word that is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CmdlineError {
    /// No setting has this name.
    Unknown(String),
    /// The setting is known, its value is not of its type.
    Value {
        /// The whole word.
        word: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// A quote was opened and not closed.
    Quote,
    /// A zero octet, which `argv` and the environment cannot hold.
    Zero,
}

impl fmt::Display for CmdlineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => write!(
                f,
                "command line: \"{word}\" is no setting; settings are tsc_hz, wall_ns, argv0, env, log, isolation, \
                 root, cwd, net.NAME and virtio_mmio.device, and the program's arguments come after `--`"
            ),
            Self::Value { word, expected } => write!(f, "command line: \"{word}\": expected {expected}"),
            Self::Quote => write!(f, "command line: a double quote is not closed"),
            Self::Zero => write!(f, "command line: an argument holds a zero octet"),
        }
    }
}

impl core::error::Error for CmdlineError {}

impl Settings {
    /// Reads a command line.
    ///
    /// # Errors
    /// [`CmdlineError`], naming the first word that is wrong.
    pub fn parse(line: &str) -> Result<Self, CmdlineError> {
        let mut settings = Self::default();
        let mut words = split(line)?.into_iter();
        for word in words.by_ref() {
            if word == "--" {
                break;
            }
            settings.set(&word)?;
        }
        settings.args = words.collect();
        Ok(settings)
    }

    /// These settings before those of `image`: whatever is set here counts, variables and `net.NAME` one by one; the arguments are the
    /// image's where there are none.
    #[must_use]
    pub fn before(self, image: Self) -> Self {
        Self {
            tsc_hz: self.tsc_hz.or(image.tsc_hz),
            wall_ns: self.wall_ns.or(image.wall_ns),
            argv0: self.argv0.or(image.argv0),
            env: merge(image.env, self.env),
            log: self.log.or(image.log),
            isolation: self.isolation.or(image.isolation),
            root_writable: self.root_writable.or(image.root_writable),
            cwd: self.cwd.or(image.cwd),
            net: merge(image.net, self.net),
            virtio_mmio: if self.virtio_mmio.is_empty() { image.virtio_mmio } else { self.virtio_mmio },
            args: if self.args.is_empty() { image.args } else { self.args },
        }
    }

    fn set(&mut self, word: &str) -> Result<(), CmdlineError> {
        let value_error = |expected| CmdlineError::Value { word: word.to_owned(), expected };
        let (name, value) = word.split_once('=').ok_or_else(|| CmdlineError::Unknown(word.to_owned()))?;
        match name {
            "tsc_hz" => {
                let hz = value.parse().ok().filter(|hz| (1_000_000..=100_000_000_000).contains(hz));
                self.tsc_hz = Some(hz.ok_or_else(|| value_error("a rate in Hz, 1 MHz to 100 GHz"))?);
            }
            "wall_ns" => {
                self.wall_ns = Some(value.parse().map_err(|_| value_error("nanoseconds since 1970"))?);
            }
            "argv0" => self.argv0 = Some(value.to_owned()),
            "env" => match value.split_once('=') {
                Some((name, _)) if !name.is_empty() => self.env.push(value.to_owned()),
                _ => return Err(value_error("env=NAME=VALUE")),
            },
            "log" => {
                self.log = Some(match value {
                    "error" => LogLevel::Error,
                    "warn" => LogLevel::Warn,
                    "info" => LogLevel::Info,
                    "debug" => LogLevel::Debug,
                    _ => return Err(value_error("log=error, warn, info or debug")),
                });
            }
            "virtio_mmio.device" => {
                let place = VirtioMmio::parse(value);
                self.virtio_mmio
                    .push(place.ok_or_else(|| value_error("virtio_mmio.device=SIZE@ADDRESS:LINE"))?);
            }
            "isolation" => {
                self.isolation = Some(match value {
                    "on" => true,
                    "off" => false,
                    _ => return Err(value_error("isolation=on or off")),
                });
            }
            "root" => {
                self.root_writable = Some(match value {
                    "rw" => true,
                    "ro" => false,
                    _ => return Err(value_error("root=ro or rw")),
                });
            }
            "cwd" if value.starts_with('/') => self.cwd = Some(value.to_owned()),
            "cwd" => return Err(value_error("cwd= with a path from the root on")),
            _ if name.starts_with("net.") => self.net.push(word.to_owned()),
            _ => return Err(CmdlineError::Unknown(word.to_owned())),
        }
        Ok(())
    }
}

/// Words `NAME=VALUE`, those of `first` that have no namesake in `then` before all of `then`.
fn merge(mut first: Vec<String>, then: Vec<String>) -> Vec<String> {
    let name = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
    first.retain(|word| then.iter().all(|other| name(other) != name(word)));
    first.extend(then);
    first
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

/// Writes the command line that [`Settings::parse`] reads back.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.tsc_hz.map(|hz| alloc::format!("tsc_hz={hz}")));
        words.extend(self.wall_ns.map(|ns| alloc::format!("wall_ns={ns}")));
        words.extend(self.argv0.as_ref().map(|name| alloc::format!("argv0={name}")));
        words.extend(self.env.iter().map(|env| alloc::format!("env={env}")));
        words.extend(self.log.map(|level| alloc::format!("log={level}")));
        words.extend(self.isolation.map(|on| alloc::format!("isolation={}", if on { "on" } else { "off" })));
        words.extend(self.root_writable.map(|on| alloc::format!("root={}", if on { "rw" } else { "ro" })));
        words.extend(self.cwd.as_ref().map(|path| alloc::format!("cwd={path}")));
        words.extend(self.net.iter().cloned());
        words.extend(self.virtio_mmio.iter().map(|place| alloc::format!("virtio_mmio.device={place}")));
        if !self.args.is_empty() {
            words.push("--".to_string());
            words.extend(self.args.iter().cloned());
        }
        for (i, word) in words.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { " " }, quote(word))?;
        }
        Ok(())
    }
}

/// A word in the form in which [`Settings::parse`] reads it as one: quoted where it has to be.
pub fn quote(word: &str) -> String {
    if !word.is_empty() && !word.contains(|c: char| c == '"' || is_blank(c)) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in word.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// Splits a line into words, quotes removed.
fn split(line: &str) -> Result<Vec<String>, CmdlineError> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        while chars.next_if(|&c| is_blank(c)).is_some() {}
        if chars.peek().is_none() {
            return Ok(words);
        }
        let mut word = String::new();
        let mut quoted = false;
        while let Some(c) = chars.next_if(|&c| quoted || !is_blank(c)) {
            match c {
                '"' => quoted = !quoted,
                '\\' if quoted => word.push(chars.next().ok_or(CmdlineError::Quote)?),
                '\0' => return Err(CmdlineError::Zero),
                c => word.push(c),
            }
        }
        if quoted {
            return Err(CmdlineError::Quote);
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|&w| w.to_owned()).collect()
    }

    #[test]
    fn settings_then_arguments() {
        let settings = Settings::parse(
            "tsc_hz=1000000000 env=A=b=c log=info isolation=on root=rw cwd=/a -- -v \"two words\" --",
        )
        .unwrap();
        assert_eq!(settings.tsc_hz, Some(1_000_000_000));
        assert_eq!(settings.env, strings(&["A=b=c"]));
        assert_eq!(settings.log, Some(LogLevel::Info));
        assert_eq!(settings.isolation, Some(true));
        assert_eq!((settings.root_writable, settings.cwd.as_deref()), (Some(true), Some("/a")));
        assert_eq!(settings.args, strings(&["-v", "two words", "--"]));
        assert_eq!(Settings::parse("  ").unwrap(), Settings::default());
    }

    #[test]
    fn what_is_written_is_read_back() {
        for arg in ["", " ", "a b", "\"", "\\", "\\\"", "a\\b", "--", "tab\there", "ü", "x=\"y z\""] {
            let settings = Settings {
                argv0: Some(arg.to_owned()),
                env: vec![alloc::format!("X={arg}")],
                isolation: Some(arg.is_empty()),
                root_writable: Some(!arg.is_empty()),
                cwd: Some(alloc::format!("/{arg}")),
                args: vec![arg.to_owned(), "last".to_owned()],
                ..Settings::default()
            };
            assert_eq!(Settings::parse(&settings.to_string()).as_ref(), Ok(&settings), "{settings}");
        }
    }

    #[test]
    fn the_machine_goes_before_the_image() {
        let parse = |line: &str| Settings::parse(line).unwrap();
        let image = parse("log=info env=A=1 env=B=2 net.eth0=dhcp net.forward=on -- of image");
        let machine = parse("log=debug env=B=3 net.eth0=10.0.0.2/24 isolation=on");
        let expected =
            "log=debug isolation=on env=A=1 env=B=3 net.forward=on net.eth0=10.0.0.2/24 -- of image";
        assert_eq!(machine.before(image.clone()), parse(expected));
        assert_eq!(Settings::default().before(image.clone()), image);
        assert_eq!(parse("-- mine").before(image).args, strings(&["mine"]));
    }

    #[test]
    fn virtio_devices_in_memory() {
        let line = "virtio_mmio.device=512@0xfeb00000:5 virtio_mmio.device=4K@0xd0000000:6:1";
        let expected = [
            VirtioMmio { len: 512, base: 0xfeb0_0000, irq: 5 },
            VirtioMmio { len: 4096, base: 0xd000_0000, irq: 6 },
        ];
        let settings = Settings::parse(line).unwrap();
        assert_eq!(settings.virtio_mmio, expected);
        assert_eq!(Settings::parse(&settings.to_string()).as_ref(), Ok(&settings));
        let long = "1@0xffffffffffffffff:5";
        for wrong in
            ["", "512", "512@", "512@1", "@1:2", "0@1:2", "K@1:2", "1@x:2", "1@1:-2", "1@1:2:3:4", long]
        {
            let word = alloc::format!("virtio_mmio.device={wrong}");
            assert!(matches!(Settings::parse(&word), Err(CmdlineError::Value { .. })), "{wrong}");
        }
    }

    #[test]
    fn errors_name_the_word() {
        assert_eq!(Settings::parse("tsc=1"), Err(CmdlineError::Unknown("tsc=1".to_owned())));
        assert_eq!(Settings::parse("hello"), Err(CmdlineError::Unknown("hello".to_owned())));
        for wrong in [
            "tsc_hz=0",
            "tsc_hz=fast",
            "tsc_hz=",
            "wall_ns=-1",
            "env=X",
            "env==x",
            "log=loud",
            "isolation=yes",
            "root=yes",
            "cwd=here",
        ] {
            assert!(
                matches!(Settings::parse(wrong), Err(CmdlineError::Value { word, .. }) if word == wrong),
                "{wrong}"
            );
        }
        assert_eq!(Settings::parse("env=A=\"b"), Err(CmdlineError::Quote));
        assert_eq!(Settings::parse("-- \"a\\"), Err(CmdlineError::Quote));
        assert_eq!(Settings::parse("-- a\0b"), Err(CmdlineError::Zero));
    }
}
