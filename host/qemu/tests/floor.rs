//! Boots the floor kernel on every machine type, and what is not a kernel on one.

use std::ops::ControlFlow;
use std::time::Duration;

use qemu::{Machine, Outcome, Vm, floor};

const PATIENCE: Duration = Duration::from_secs(60);

fn floor_vm(dir: &tempfile::TempDir) -> Vm {
    let image = dir.path().join("floor");
    floor::write(&image).unwrap();
    let mut vm = Vm::new(image);
    vm.timeout = Some(PATIENCE);
    vm
}

#[test]
fn the_floor_kernel_boots_on_every_machine_type() {
    let dir = tempfile::tempdir().unwrap();
    for machine in Machine::ALL {
        let mut vm = floor_vm(&dir);
        vm.machine = machine;
        let finished = vm.run().unwrap();
        assert_eq!(finished.console, [floor::LETTER], "{machine}");
        assert_eq!(finished.outcome, Outcome::DebugExit(floor::EXIT_VALUE), "{machine}");
    }
}

#[test]
fn a_triple_fault_is_a_reset_and_not_a_success() {
    let dir = tempfile::tempdir().unwrap();
    let vm = floor_vm(&dir);
    let mut image = std::fs::read(&vm.kernel).unwrap();
    // `lidt` of zeros (in the ELF identification, loaded at 1 MiB), then `ud2`.
    let code = image.len() - 14;
    image[code..code + 9].copy_from_slice(&[0x0f, 0x01, 0x1d, 9, 0, 0x10, 0, 0x0f, 0x0b]);
    std::fs::write(&vm.kernel, image).unwrap();
    assert_eq!(vm.run().unwrap().outcome, Outcome::Reset);
}

#[test]
fn a_machine_that_hangs_is_ended_by_its_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let mut vm = floor_vm(&dir);
    let mut image = std::fs::read(&vm.kernel).unwrap();
    // `jmp` to itself.
    let len = image.len();
    image[len - 14..len - 12].copy_from_slice(&[0xeb, 0xfe]);
    std::fs::write(&vm.kernel, image).unwrap();
    vm.timeout = Some(Duration::from_millis(300));
    assert_eq!(vm.run().unwrap().outcome, Outcome::TimedOut(Duration::from_millis(300)));
}

#[test]
fn a_machine_can_be_stopped_and_none_survives_its_handle() {
    let dir = tempfile::tempdir().unwrap();
    let vm = floor_vm(&dir);
    let outcome = vm.start().unwrap().pump(|_| ControlFlow::Break(())).unwrap();
    assert_eq!(outcome, Outcome::Stopped);

    let running = vm.start().unwrap();
    let pid = running.pid();
    drop(running);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn another_thread_can_stop_a_machine() {
    let dir = tempfile::tempdir().unwrap();
    let mut vm = floor_vm(&dir);
    // Stopped before its first instruction, it would wait for ever.
    vm.extra = vec!["-S".into()];
    let running = vm.start().unwrap();
    let stopper = running.stopper().unwrap();
    let thread = std::thread::spawn(move || stopper.stop());
    let outcome = running.pump(|_| ControlFlow::Continue(())).unwrap();
    thread.join().unwrap();
    assert!(matches!(outcome, Outcome::Killed { signal: 9, .. }), "{outcome:?}");
}

#[test]
fn what_qemu_refuses_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let mut vm = floor_vm(&dir);
    vm.cpu = "no-such-cpu".to_owned();
    match vm.run().unwrap().outcome {
        Outcome::QemuFailed { stderr, .. } => assert!(stderr.contains("no-such-cpu"), "{stderr}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_qemu_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut vm = floor_vm(&dir);
    vm.qemu = "no-such-qemu".into();
    let error = vm.run().unwrap_err().to_string();
    assert!(error.contains("no-such-qemu"), "{error}");
}
