//! Ends with a status: `exit call 7` by `process::exit`, `exit return 7` by `main`'s result, `exit thread 7` from
//! another thread.

use std::process::{self, ExitCode};
use std::thread;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, way, status] = arguments.as_slice() else { panic!("usage: exit WAY STATUS") };
    let status: u8 = status.parse().expect("a status is a number below 256");
    match way.as_str() {
        "call" => process::exit(status.into()),
        "return" => ExitCode::from(status),
        "thread" => match thread::spawn(move || process::exit(status.into())).join() {
            Ok(()) | Err(_) => unreachable!("the thread ended the process"),
        },
        other => panic!("no way {other}"),
    }
}
