//! `cargo includeos`: builds Cargo projects as images that boot by themselves, and runs them.

#![forbid(unsafe_code)]

mod attach;
mod build;
mod cli;
mod config;
mod console;
mod debug;
mod diagnosis;
mod doctor;
mod image;
mod kernel_object;
mod link;
mod manifest;
mod new;
mod project;
mod run;
mod rustflags;
mod size;
mod symbols;
mod symbols_used;
mod test;
mod toolchain;
mod tree;
mod ui;

use std::process::ExitCode;

use anyhow::Result;
use cli::Command;

/// Status when the tool cannot do its work, as docker has it: programs rarely end with it.
const STATUS_TOOL: u8 = 125;

fn main() -> ExitCode {
    if let Some(status) = link::called() {
        return ExitCode::from(status);
    }
    qemu::tsc::mark();
    let status = carry_out(cli::parse().command).unwrap_or_else(|error| {
        if let Some(build::CargoFailed(status)) = error.downcast_ref() {
            return *status;
        }
        ui::error(format!("{error:#}"));
        STATUS_TOOL
    });
    ExitCode::from(status)
}

fn carry_out(command: Command) -> Result<u8> {
    match command {
        Command::New(new) => new::command(&new).map(|()| 0),
        Command::Build(build) => build::command(&build.selection).map(|()| 0),
        Command::Run(run) => run::command(&run),
        Command::Test(test) => test::command(&test),
        Command::Size(size) => size::command(&size.selection).map(|()| 0),
        Command::Doctor => Ok(doctor::command()),
        Command::Debug(debug) => debug::command(&debug),
    }
}
