//! Images as Linux processes, the measure of what images do.

use std::process::{Command, Stdio};

use crate::boot::{Boot, everywhere, on_any_number_of_cpus};
use crate::image::Image;
use crate::tool::text;

/// What a program wrote to its standard output under Linux, and the status it ended with. It has a minute.
#[track_caller]
pub fn run(image: &Image, args: &[&str], env: &[&str]) -> (String, u8) {
    let mut command = Command::new("timeout");
    command
        .args(["--signal=KILL", "60"])
        .arg(&image.path)
        .args(args)
        .env_clear()
        .envs(env.iter().filter_map(|variable| variable.split_once('=')));
    let output = command.stdin(Stdio::null()).output().expect("an image runs on Linux");
    let status = output.status.code().unwrap_or_else(|| panic!("{}", output.status));
    (text(&output.stdout), status.try_into().expect("a status has eight bits"))
}

/// The image ends with the same status as a Linux process.
#[track_caller]
pub fn same_status(image: &Image, args: &[&str]) {
    let (_, status) = run(image, args, &[]);
    everywhere(&Boot::new(image).args(args), status, |_| ());
}

/// The image prints and ends as the same file does as a Linux process, on every machine type, with one CPU and with several.
/// `kernels` is what the kernel itself may say.
#[track_caller]
pub fn same(image: &Image, args: &[&str], env: &[&str], kernels: &[&str]) {
    same_by(&Boot::new(image).args(args).env(env), run(image, args, env), kernels);
}

/// As [`same`], for a machine that was set up, and what the program printed and its status under Linux.
#[track_caller]
pub fn same_by(boot: &Boot, (expected, status): (String, u8), kernels: &[&str]) {
    assert!(!expected.is_empty(), "a program that says nothing shows nothing");
    on_any_number_of_cpus(boot, status, |ended| {
        assert_eq!(ended.programs(), expected);
        let unexpected: Vec<_> = ended.kernels().into_iter().filter(|line| !kernels.contains(line)).collect();
        assert!(unexpected.is_empty(), "{unexpected:?}");
    });
}
