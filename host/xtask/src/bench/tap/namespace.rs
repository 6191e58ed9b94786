//! [`Namespace`]: a network namespace of Linux, for as long as the value lives.

use anyhow::{Context, Result, bail};
use std::process::Command;

/// A network namespace (`ip-netns(8)`).
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one. One of that name that was left over goes first.
    pub fn new(name: &str) -> Result<Self> {
        let _ = Command::new("ip").args(["netns", "delete", name]).output();
        ip(&["netns", "add", name])?;
        let namespace = Self { name: name.to_owned() };
        namespace.ip(&["link", "set", "lo", "up"])?;
        // What is learned in one run would help the next.
        namespace.sysctl("net.ipv4.tcp_no_metrics_save", "1")?;
        namespace.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        namespace.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        Ok(namespace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip` in this namespace.
    pub fn ip(&self, args: &[&str]) -> Result<()> {
        ip(&[&["-n", &self.name], args].concat())
    }

    /// A command that runs in this namespace.
    pub fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let setting = format!("{name}={value}");
        let output = self.command("sysctl".as_ref()).args(["-q", "-w", &setting]).output()?;
        // Without IPv6 there is nothing to switch off.
        if !output.status.success() && !name.contains("ipv6") {
            bail!("sysctl {setting}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its devices go with it.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

/// Runs `ip`.
pub fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output().context("ip (iproute2) does not start")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {} (this needs root)", args.join(" "), why.trim());
    }
    Ok(())
}
