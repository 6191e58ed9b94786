//! What a command prints while it works: numbered steps, each with its time, and the failures at the end.

use crate::repo;
use anyhow::{Context, Result, bail};
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A command of several steps. A step that fails does not keep the next from running.
pub struct Steps {
    command: &'static str,
    total: usize,
    done: usize,
    failed: Vec<String>,
    started: Instant,
}

impl Steps {
    /// Starts a command of `total` steps.
    pub fn new(command: &'static str, total: usize) -> Self {
        Self { command, total, done: 0, failed: Vec::new(), started: Instant::now() }
    }

    /// Runs one step. Its error is printed and remembered.
    pub fn run<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T>) -> Option<T> {
        self.done += 1;
        let started = Instant::now();
        eprintln!("[{}/{}] {name}", self.done, self.total);
        let result = step();
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(value) => {
                eprintln!("[{}/{}] {name}: passed, {seconds:.1} s", self.done, self.total);
                Some(value)
            }
            Err(error) => {
                eprintln!("[{}/{}] {name}: FAILED, {seconds:.1} s: {error:#}", self.done, self.total);
                self.failed.push(name.to_owned());
                None
            }
        }
    }

    /// Prints the closing line. An error if a step failed.
    pub fn close(self) -> Result<(), Reported> {
        let Self { command, done, failed, started, .. } = self;
        let seconds = started.elapsed().as_secs();
        if failed.is_empty() {
            println!("{command}: {done} steps passed in {seconds} s");
            return Ok(());
        }
        println!("{command}: {} of {done} steps FAILED in {seconds} s: {}", failed.len(), failed.join(", "));
        Err(Reported)
    }
}

/// A failure that the user was told of already.
#[derive(Debug)]
pub struct Reported;

impl fmt::Display for Reported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("see above")
    }
}

impl std::error::Error for Reported {}

/// Runs a command whose output is for the reader.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| repo::describe(command))?;
    if !status.success() {
        bail!("`{}` ended with {status}", repo::describe(command));
    }
    Ok(())
}

/// Runs a command whose standard output is passed on, and shown to `on_line` as well. Returns whether it succeeded.
pub fn run_watched(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<bool> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| repo::describe(command))?;
    let mut reader = BufReader::new(child.stdout.take().expect("the output is piped"));
    let mut line = Vec::new();
    let mut stdout = std::io::stdout();
    while reader.read_until(b'\n', &mut line)? != 0 {
        stdout.write_all(&line)?;
        on_line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    stdout.flush()?;
    Ok(child.wait()?.success())
}
