//! `posix/main`: arguments arrive, and the status that main returns is the command's, 200 or 0.

use std::process::ExitCode;

pub fn main(arguments: &[String]) -> ExitCode {
    println!("Hello main\nArgc: {}", arguments.len());
    for (at, argument) in arguments.iter().enumerate().skip(1) {
        println!("Arg {at}: {argument}");
    }
    if arguments.len() > 1 { ExitCode::from(200) } else { ExitCode::SUCCESS }
}
