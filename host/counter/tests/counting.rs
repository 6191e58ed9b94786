//! The plugin under QEMU, with a kernel of a few instructions whose counts are known.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use includeos_counter::opcode::Mark;

const LOAD: u32 = 0x10_0000;
/// More than TCG runs of one `rep` instruction at a time.
const STORED: u32 = 200_000;

/// A PVH kernel: 32-bit code, entered at its first octet, loaded at [`LOAD`].
fn kernel(code: &[u8]) -> Vec<u8> {
    const HEADERS: u32 = 52 + 2 * 32;
    const NOTE: u32 = 12 + 4 + 4;
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let code_len = u32::try_from(code.len()).unwrap();
    let code_at = HEADERS + NOTE;
    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0".to_vec();
    elf.extend(words(&[1, LOAD, 52, 0, 0]));
    elf.extend([52, 0, 32, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend(words(&[1, code_at, LOAD, LOAD, code_len, code_len, 7, 0])); // PT_LOAD
    elf.extend(words(&[4, HEADERS, 0, 0, NOTE, NOTE, 4, 4])); // PT_NOTE
    elf.extend(words(&[4, 4, 18]));
    elf.extend(b"Xen\0");
    elf.extend(words(&[LOAD]));
    elf.extend(code);
    elf
}

/// Thirteen instructions to the end of the window, with one exit by port and two by memory.
fn code() -> (Vec<u8>, u32) {
    let mut code = Vec::new();
    code.extend([0xfc]); // cld
    code.extend([0x31, 0xc0]); // xor eax, eax
    code.push(0xbf); // mov edi, 2 MiB
    code.extend(0x20_0000_u32.to_le_bytes());
    code.push(0xb9); // mov ecx, STORED
    code.extend(STORED.to_le_bytes());
    code.extend([0xf3, 0xaa]); // rep stosb
    code.push(0xbe); // mov esi, 2 MiB
    code.extend(0x20_0000_u32.to_le_bytes());
    code.extend(Mark::START);
    code.extend([0xa5]); // movsd
    code.extend([0xad]); // lodsd
    code.extend(Mark::END);
    code.push(0xa1); // mov eax, [version of the local APIC]
    code.extend(0xfee0_0030_u32.to_le_bytes());
    code.push(0xa1); // and once more
    code.extend(0xfee0_0030_u32.to_le_bytes());
    code.extend([0xe4, 0x80]); // in al, 0x80
    let end = u32::try_from(code.len()).unwrap();
    code.extend([0xe6, 0xf4]); // out 0xf4, al: QEMU exits
    code.extend([0xf4, 0xeb, 0xfd]); // hlt, for ever
    (code, end)
}

/// The plugin, which cargo builds beside this test.
fn plugin() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().join("libincludeos_counter.so")
}

/// Ends QEMU with the test, however that ends.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots the kernel with the plugin and returns what it wrote, counts and histogram.
fn count(machine: &[&str], name: &str, more: &str) -> (String, String) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&dir).unwrap();
    let (code, end) = code();
    let (elf, out, hist) = (dir.join("kernel"), dir.join("out"), dir.join("hist"));
    fs::write(&elf, kernel(&code)).unwrap();
    let _ = fs::remove_file(&out);
    let plugin = format!(
        "{},out={},hist={},window=code:{LOAD:#x}:{:#x},window=never:0x1:0x2{more}",
        plugin().display(),
        out.display(),
        hist.display(),
        LOAD + end
    );
    let child = Command::new("qemu-system-x86_64")
        .args(["-accel", "tcg", "-m", "16", "-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
        .args(machine)
        .arg("-kernel")
        .arg(&elf)
        .arg("-plugin")
        .arg(plugin)
        .stdin(Stdio::null())
        .spawn()
        .expect("qemu-system-x86_64 starts; `cargo xtask setup` installs it");
    let mut qemu = Qemu(child);
    let deadline = Instant::now() + Duration::from_secs(60);
    while qemu.0.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the kernel did not end within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    (fs::read_to_string(out).unwrap(), fs::read_to_string(hist).unwrap())
}

fn expected(mmio: u32) -> String {
    format!(
        "{{\"window\":\"code\",\"progress\":\"closed\",\"instructions\":13,\"string_bytes\":{},\
         \"device_accesses\":{},\"ports\":1,\"mmio\":{mmio},\"blocks\":",
        STORED + 4 + 4,
        1 + mmio
    )
}

#[test]
fn each_column_is_exact_on_q35() {
    let (counts, hist) = count(&["-M", "q35"], "q35", "");
    let lines = counts.lines().collect::<Vec<_>>();
    assert!(lines[0].starts_with("{\"window\":\"total\",\"progress\":\"closed\","), "{counts}");
    assert!(lines[1].starts_with(&expected(2)), "{counts}");
    assert_eq!(
        lines[2],
        "{\"window\":\"never\",\"progress\":\"unopened\",\"instructions\":0,\"string_bytes\":0,\
         \"device_accesses\":0,\"ports\":0,\"mmio\":0,\"blocks\":0}"
    );
    assert!(lines[3].starts_with(
        "{\"window\":\"section\",\"progress\":\"closed\",\"instructions\":3,\"string_bytes\":8,\"device_accesses\":0,"
    ));
    assert_eq!(lines.len(), 4, "{counts}");
    assert_eq!(total(&hist, "insn"), 13, "{hist}");
    assert_eq!(total(&hist, "port"), 1, "{hist}");
    assert_eq!(total(&hist, "mmio"), 2, "{hist}");
    assert!(hist.contains(&format!("port {:#x} 1\n", LOAD + code().1 - 2)), "{hist}");
}

#[test]
fn each_column_is_exact_on_microvm() {
    let (counts, _) = count(&["-M", "microvm"], "microvm", "");
    assert!(counts.contains(&expected(2)), "{counts}");
}

#[test]
fn a_repeated_instruction_counts_once_where_qemu_enters_it_for_each_octet() {
    let (counts, hist) = count(&["-M", "q35", "-icount", "shift=0"], "icount", "");
    assert!(counts.contains(&expected(2)), "{counts}");
    assert_eq!(total(&hist, "insn"), 13, "{hist}");
}

#[test]
fn without_mmio_the_other_columns_stay() {
    let (counts, _) = count(&["-M", "microvm"], "no-mmio", ",mmio=off");
    assert!(counts.contains(&expected(0)), "{counts}");
}

/// The histogram's sum for one kind of count.
fn total(hist: &str, counted: &str) -> u64 {
    let count = |line: &str| line.strip_prefix(counted)?.rsplit(' ').next()?.parse::<u64>().ok();
    hist.lines().filter_map(count).sum()
}
