//! The project's own commands: `cargo xtask`.
//!
//! One command, one file: what it does is in its module, what is printed on the way in [`ui`].

#![forbid(unsafe_code)]

mod apt;
mod bench;
mod ci;
mod demo;
mod metadata;
mod models;
mod names;
mod namespace;
mod repo;
mod setup;
mod suites;
mod syscalls;
mod test;
mod tidy;
mod ui;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Setup(setup::Setup),
    Test(test::Test),
    Ci(ci::Ci),
    Demo(demo::Demo),
    Tidy(tidy::Tidy),
    Bench(bench::Bench),
    Models(models::Models),
    Syscalls(syscalls::Syscalls),
    Suites(suites::Suites),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup(command) => command.run(),
        Command::Test(command) => command.run(),
        Command::Ci(command) => command.run(),
        Command::Demo(command) => command.run(),
        Command::Tidy(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Models(command) => command.run(),
        Command::Syscalls(command) => command.run(),
        Command::Suites(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is::<ui::Reported>() {
                eprintln!("xtask: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
