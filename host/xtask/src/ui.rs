//! What a command prints while it works: numbered steps, each with its time, and the failures at the end.

use crate::repo;
use anyhow::{Context, Result, bail};
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

    /// The closing line, and an error if a step failed.
    pub fn close(self) -> Result<()> {
        let seconds = self.started.elapsed().as_secs();
        if self.failed.is_empty() {
            println!("{}: {} steps passed in {seconds} s", self.command, self.done);
            return Ok(());
        }
        bail!(
            "{}: {} of {} steps failed: {}",
            self.command,
            self.failed.len(),
            self.done,
            self.failed.join(", ")
        )
    }
}

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
