//! Boots an image under gdb.

use std::io::{self, IsTerminal, Write};
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::{Context, Result};
use qemu::Gdb;
use signal_hook::consts::SIGINT;

use crate::build::{self, Image};
use crate::cli::Debug;
use crate::console::{Console, Style};
use crate::kernel_object::write_whole;
use crate::run::{self, Backtrace};
use crate::symbols::{Symbols, linked_name};
use crate::ui;

/// `cargo includeos debug`: the machine waits before its first instruction for gdb.
pub fn command(debug: &Debug) -> Result<u8> {
    let image = build::one(&debug.selection)?;
    let port = debug.port.map_or_else(free_port, Ok)?;
    let script = image.path.with_added_extension("gdb");
    let commands = script_text(&image.with_symbols, port, &breakpoints(&image)?);
    write_whole(&script, commands.as_bytes())
        .with_context(|| format!("cannot write {}", script.display()))?;

    let mut vm = run::machine(&image, &debug.machine, Backtrace::On(Style::Short), true)?;
    vm.gdb = Some(Gdb { port, stopped: true });
    let running = vm.start()?;
    let mut console = Console::new(io::stdout(), Symbols::new(&image.with_symbols), Style::Short);
    let show = |bytes: &[u8]| match console.write(bytes) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    let mut gdb = Command::new("gdb");
    gdb.arg("-q").arg("-x").arg(&script);
    if !io::stdin().is_terminal() {
        ui::status("Waiting", format!("for gdb on port {port}; start `{}`", shown(&gdb)));
        return Ok(running.pump(show)?.status());
    }
    // Ctrl-C is gdb's: it stops the program, not us.
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, interrupted).context("cannot leave Ctrl-C to gdb")?;
    let stopper = running.stopper()?;
    match gdb.spawn() {
        Ok(mut gdb) => {
            // The machine belongs to this thread, which shows its console until gdb has ended.
            let waiter = thread::spawn(move || {
                let ended = gdb.wait();
                stopper.stop();
                ended
            });
            running.pump(show)?;
            waiter.join().map_err(|_| anyhow::anyhow!("cannot wait for gdb"))??;
            Ok(0)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            ui::warning("gdb was not found; remedy: `sudo apt-get install gdb`");
            ui::status(
                "Waiting",
                format!("for a debugger on port {port}; commands for it: {}", script.display()),
            );
            io::stderr().flush()?;
            Ok(running.pump(show)?.status())
        }
        Err(error) => Err(error).context("cannot start gdb"),
    }
}

/// A port that nobody uses now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot find a free port for gdb")?;
    Ok(listener.local_addr().context("cannot find a free port for gdb")?.port())
}

/// Where the machine stops: at the program's `main` once, and where the kernel reports what it cannot survive. By the
/// symbols as linked, for gdb does not know the others without their hash. Four: x86 has no more hardware breakpoints.
fn breakpoints(image: &Image) -> Result<Vec<String>> {
    let elf = std::fs::read(&image.with_symbols).context("cannot read what Cargo linked")?;
    let main = linked_name(&elf, &format!("{}::main", image.crate_name));
    let mut commands = vec![format!("thbreak {}", main.as_deref().unwrap_or("main"))];
    for report in ["kernel_panic", "kernel_fault", "program_fault"] {
        let name = linked_name(&elf, &format!("kernel::report::{report}"));
        commands.extend(name.map(|name| format!("hbreak {name}")));
    }
    Ok(commands)
}

/// What gdb is told. Hardware breakpoints, for the image is loaded after they are set.
fn script_text(program: &Path, port: u16, breakpoints: &[String]) -> String {
    format!(
        "\
# Written by `cargo includeos debug`.
set pagination off
set print pretty on
set print asm-demangle on
set print frame-arguments scalars
set auto-load python-scripts off
set disassembly-flavor intel
set architecture i386:x86-64
file {}
target remote 127.0.0.1:{port}
{}
define hook-quit
  kill
end
echo The machine stands before its first instruction. `continue` runs it to main.\\n
",
        program.display(),
        breakpoints.join("\n")
    )
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_connects_after_it_knows_the_program() {
        let script = script_text(Path::new("/t/hello"), 1234, &["thbreak main".to_owned()]);
        let at = |text: &str| script.find(text).unwrap_or_else(|| panic!("{text} is missing"));
        assert!(at("file /t/hello") < at("target remote 127.0.0.1:1234"));
        assert!(at("target remote") < at("thbreak main"));
    }
}
