//! The tool as people call it: whole projects, booted, and what goes wrong before anything boots.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the tool in `folder`, as Cargo would.
fn includeos(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-includeos"));
    command.arg("includeos").args(args).current_dir(folder);
    // What the Cargo that runs this test has set is not for the projects.
    for name in ["CARGO_TARGET_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUST_BACKTRACE"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A package in `folder` with these files.
fn package(folder: &Path, name: &str, files: &[(&str, &str)]) {
    let manifest = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n\n[workspace]\n");
    for (path, content) in [("Cargo.toml", manifest.as_str())].iter().chain(files) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Fails with status 125 and one line on standard error that holds `parts`.
#[track_caller]
fn assert_one_clear_line(output: &Output, parts: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{stderr}");
    let line = stderr.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{stderr}"));
    assert!(parts.iter().all(|part| line.contains(part)), "{line}");
}

#[test]
fn a_new_project_boots_and_runs_on_linux_with_the_same_output() {
    let folder = tempfile::tempdir().unwrap();
    assert!(includeos(folder.path(), &["new", "hello", "--vcs", "none"]).status.success());
    let hello = folder.path().join("hello");
    let run = includeos(&hello, &["run", "--timeout", "60", "--", "you"]);
    let stdout = text(&run.stdout);
    assert_eq!(run.status.code(), Some(0), "{stdout}{}", text(&run.stderr));
    assert!(stdout.starts_with("Hello, you!\n") && stdout.contains("In all 15005000"), "{stdout}");

    let on_linux = Command::new(hello.join("target/includeos/debug/hello")).arg("you").output().unwrap();
    assert!(on_linux.status.success() && text(&on_linux.stdout).starts_with("Hello, you!\n"));
}

#[test]
fn status_arguments_and_variables_come_through() {
    let folder = tempfile::tempdir().unwrap();
    let main = "fn main() {
        println!(\"{:?} {:?}\", std::env::args().nth(1), std::env::var(\"NAME\"));
        std::process::exit(200)
    }";
    package(folder.path(), "status", &[("src/main.rs", main)]);
    let run = includeos(folder.path(), &["run", "--timeout", "60", "-e", "NAME=a \"b", "--", "x y"]);
    assert_eq!(run.status.code(), Some(200), "{}", text(&run.stderr));
    assert_eq!(text(&run.stdout), "Some(\"x y\") Ok(\"a \\\"b\")\n");
}

#[test]
fn a_panic_of_a_stripped_image_is_shown_with_function_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let main = "#[inline(never)]\nfn culprit(v: &[u8], i: usize) -> u8 {\n    v[i]\n}\n\
                fn main() {\n    println!(\"{}\", culprit(&[1], std::env::args().count() + 5));\n}\n";
    package(folder.path(), "panics", &[("src/main.rs", main)]);
    let run = includeos(folder.path(), &["run", "--release", "--timeout", "60"]);
    let stdout = text(&run.stdout);
    assert_eq!(run.status.code(), Some(101), "{stdout}{}", text(&run.stderr));
    let (_, frame) = stdout.split_once("panics::culprit\n").unwrap_or_else(|| panic!("{stdout}"));
    assert!(frame.trim_start().starts_with("at src/main.rs:3:"), "{stdout}");
    assert!(!stdout.contains("lang_start"), "what comes before main is left out: {stdout}");
}

#[test]
fn a_timeout_ends_with_124_and_the_stacks_of_all_threads() {
    let folder = tempfile::tempdir().unwrap();
    let main = "#[inline(never)]\nfn waits() { loop { std::thread::park() } }\n\
                #[inline(never)]\nfn computes() { loop { std::hint::spin_loop() } }\n\
                fn main() {\n    let _ = std::thread::Builder::new().name(\"busy\".into()).spawn(computes);\n    waits();\n}\n";
    package(folder.path(), "waits", &[("src/main.rs", main)]);
    for more in [&["--cpus", "1"][..], &["--cpus", "2", "--isolation"]] {
        let run = includeos(folder.path(), &[&["run", "--timeout", "3"], more].concat());
        let (stdout, stderr) = (text(&run.stdout), text(&run.stderr));
        assert_eq!(run.status.code(), Some(124), "{stdout}{stderr}");
        assert!(stderr.contains("timeout of 3s"), "{stderr}");
        let (waiting, busy) =
            stdout.split_once("includeos: thread 2 \"busy\"").unwrap_or_else(|| panic!("{stdout}"));
        let (_, waiting) = waiting
            .split_once("includeos: thread 1 \"waits\", in system call 202\n")
            .unwrap_or_else(|| panic!("{stdout}"));
        assert!(waiting.contains("waits::waits at src/main.rs:2"), "{stdout}");
        assert!(busy.contains("waits::computes at src/main.rs:4"), "{stdout}");
    }
}

/// A package with a test of each kind.
fn package_with_tests(folder: &Path) {
    let files = "#[test]
fn a_file_of_the_package() {
    assert_eq!(std::fs::read_to_string(\"data/text\").unwrap(), \"packed\");
    assert_eq!(std::env::current_dir().unwrap().to_str(), Some(env!(\"CARGO_MANIFEST_DIR\")));
    assert_eq!(std::env::var(\"CARGO_MANIFEST_DIR\").unwrap(), env!(\"CARGO_MANIFEST_DIR\"));
    assert_eq!(std::env::args().next(), std::env::current_exe().unwrap().to_str().map(str::to_owned));
}
#[test]
fn it_can_be_changed() {
    std::fs::write(\"data/text\", \"changed\").unwrap();
    std::fs::write(\"data/new\", \"\").unwrap();
    std::fs::write(std::env::temp_dir().join(\"new\"), \"\").unwrap();
    std::fs::write(concat!(env!(\"CARGO_TARGET_TMPDIR\"), \"/new\"), \"\").unwrap();
}
";
    let files = [
        ("src/lib.rs", "#[test] fn unit() {}\n#[test] #[ignore] fn slow() {}\n"),
        ("src/main.rs", "fn main() {}\n#[test] fn of_the_program() {}\n"),
        ("tests/files.rs", files),
        ("tests/odd.rs", "#[test] fn fails() { panic!(\"as it should\") }\n"),
        ("tests/status.rs", "#[test] fn exits() { std::process::exit(7) }\n"),
        ("data/text", "packed"),
    ];
    package(folder, "tested", &files);
}

#[test]
fn tests_run_in_images_and_are_reported_as_by_cargo() {
    let folder = tempfile::tempdir().unwrap();
    package_with_tests(folder.path());
    let one_by_one = ["--", "--test-threads", "1"];
    let test = |args: &[&str]| {
        let output = includeos(folder.path(), &[&["test", "--timeout", "100"], args, &one_by_one].concat());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (status, stdout, stderr) = test(&["--no-fail-fast"]);
    assert_eq!(status, Some(101), "{stdout}{stderr}");
    let running: Vec<_> = stderr.lines().filter_map(|line| line.trim().strip_prefix("Running ")).collect();
    let titles = [
        "unittests src/lib.rs (",
        "unittests src/main.rs (",
        "tests/files.rs (",
        "tests/odd.rs (",
        "tests/status.rs (",
    ];
    assert_eq!(running.len(), titles.len(), "{stderr}");
    assert!(running.iter().zip(titles).all(|(line, title)| line.starts_with(title)), "{stderr}");
    let lines = [
        "test slow ... ignored",
        "test unit ... ok",
        "test of_the_program ... ok",
        "test a_file_of_the_package ... ok",
        "test it_can_be_changed ... ok",
        "test fails ... FAILED",
    ];
    let mut places = lines.iter().map(|line| stdout.find(line).unwrap_or_else(|| panic!("{line}: {stdout}")));
    assert!(places.by_ref().is_sorted(), "{stdout}");
    let failed = "error: 2 targets failed:\n    `--test odd`\n    `--test status`\n    the image ended with status 7\n";
    assert!(stderr.ends_with(failed), "{stderr}");
    assert_eq!(fs::read_to_string(folder.path().join("data/text")).unwrap(), "packed");
    assert!(!folder.path().join("data/new").exists());

    // Without it, nothing is shown behind the first that fails.
    let (status, stdout, stderr) = test(&["--test", "odd", "--test", "status"]);
    assert_eq!(status, Some(101), "{stdout}{stderr}");
    assert!(stderr.ends_with("error: test failed, to rerun pass `--test odd`\n"), "{stderr}");

    let (status, stdout, stderr) = test(&["--lib", "--release", "uni"]);
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("1 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out"), "{stdout}");
    assert!(stderr.contains("cargo test --doc"), "{stderr}");
}

#[test]
fn flags_of_every_source_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let main = "fn main() { println!(\"{}\", cfg!(theirs)) }";
    let config = "[build]\nrustflags = ['--cfg', 'theirs']\n";
    package(folder.path(), "flags", &[("src/main.rs", main), (".cargo/config.toml", config)]);
    let run = includeos(folder.path(), &["run", "--timeout", "60"]);
    assert_eq!(text(&run.stdout), "true\n", "{}", text(&run.stderr));
    // A flag that would make an ordinary program of it.
    let pie = "target.'cfg(unix)'.rustflags=['--cfg=theirs', '-Crelocation-model=pic']";
    let run = includeos(folder.path(), &["run", "--timeout", "60", "--config", pie]);
    assert_eq!(text(&run.stdout), "true\n", "{}", text(&run.stderr));
}

#[test]
fn gnu_ld_links_images_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[build]\nrustflags = ['-Clinker-features=-lld']\n";
    let main = "fn main() { println!(\"linked\") }";
    package(folder.path(), "gnu", &[("src/main.rs", main), (".cargo/config.toml", config)]);
    let run = includeos(folder.path(), &["run", "--timeout", "60"]);
    assert_eq!(text(&run.stdout), "linked\n", "{}", text(&run.stderr));
}

#[test]
fn an_image_with_another_kernel_is_linked_again() {
    let folder = tempfile::tempdir().unwrap();
    package(folder.path(), "stale", &[("src/main.rs", "fn main() {}")]);
    assert!(includeos(folder.path(), &["build"]).status.success());
    let linked = folder.path().join("target/x86_64-unknown-linux-gnu/debug/stale");
    // In place, so that Cargo's own link to the file sees the other build id, too.
    let mut elf = fs::read(&linked).unwrap();
    let note = b"IncludeOS\0\0\0";
    let at = elf.windows(note.len()).position(|window| window == note).unwrap() + note.len() + 4;
    elf[at..at + 16].copy_from_slice(&[0xa5; 16]);
    fs::write(&linked, &elf).unwrap();
    let build = includeos(folder.path(), &["build"]);
    assert!(build.status.success(), "{}", text(&build.stderr));
    assert_ne!(fs::read(&linked).unwrap()[at..at + 16], [0xa5; 16]);
}

#[test]
fn a_missing_c_library_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let main = "#[link(name = \"nosuchthing\")]\nunsafe extern \"C\" { fn nosuch(); }\nfn main() { unsafe { nosuch() } }";
    package(folder.path(), "needs", &[("src/main.rs", main)]);
    assert_one_clear_line(&includeos(folder.path(), &["run"]), &["`nosuchthing`", "remedy"]);
}

#[test]
fn what_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    assert_one_clear_line(&includeos(folder.path(), &["run"]), &["Cargo.toml"]);
    let files = [("src/bin/one.rs", "fn main() {}"), ("src/bin/two.rs", "fn main() {}")];
    package(folder.path(), "many", &files);
    assert_one_clear_line(&includeos(folder.path(), &["run"]), &["--bin", "one, two"]);
    assert_one_clear_line(&includeos(folder.path(), &["run", "--bin", "three"]), &["three", "one, two"]);
    assert_one_clear_line(
        &includeos(folder.path(), &["run", "--bin", "one", "-m", "1M"]),
        &["1 MiB", "remedy"],
    );
    let cpu = includeos(folder.path(), &["run", "--bin", "one", "--cpu", "nosuch", "--timeout", "60"]);
    assert_one_clear_line(&cpu, &["nosuch"]);
}

#[test]
fn wrong_flags_are_refused_before_anything_is_built() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["run", "-p", "web"][..],
        &["run", "-p", "80:x"],
        &["run", "-m", "tiny"],
        &["run", "--machine", "vax"],
        &["fly"],
    ] {
        let output = includeos(folder.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).starts_with("error: "), "{args:?}");
    }
    let broken = includeos(folder.path(), &["--help"]);
    assert!(broken.status.success() && text(&broken.stdout).contains("doctor"));
}

#[test]
fn a_program_that_does_not_compile_ends_as_cargo_does() {
    let folder = tempfile::tempdir().unwrap();
    package(folder.path(), "broken", &[("src/main.rs", "fn main() { let x: u8 = \"\"; }")]);
    let run = includeos(folder.path(), &["run"]);
    assert_eq!(run.status.code(), Some(101));
    assert!(text(&run.stderr).contains("E0308"), "{}", text(&run.stderr));
}
