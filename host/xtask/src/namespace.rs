//! Network namespaces of our own: this program runs again in one, which is gone when it ends.
//!
//! Root or user namespaces are needed, and util-linux and iproute2.

use crate::repo;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::process::Command;

/// This program with other arguments, in namespaces of its own for the network and for mounts.
pub fn command(args: impl IntoIterator<Item = OsString>) -> Result<Command> {
    let root = repo::output(Command::new("id").arg("-u"))?.trim() == "0";
    let mut command = Command::new("unshare");
    command.arg(if root { "-nm" } else { "-Urnm" }).arg(std::env::current_exe()?).args(args);
    Ok(command)
}

/// In the namespace: runs `ip` with these words.
pub fn ip(words: &str) -> Result<()> {
    repo::output(Command::new("ip").args(words.split(' '))).with_context(|| format!("ip {words}")).map(drop)
}
