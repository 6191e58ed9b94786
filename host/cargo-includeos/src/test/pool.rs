//! Images that run side by side, and what they write, one after the other.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use anyhow::{Context, Result};
use qemu::{Outcome, Vm};

use crate::console::{Console, Style};
use crate::symbols::Symbols;

/// An image to be run.
pub struct Job {
    /// The machine.
    pub vm: Vm,
    /// The program with symbols.
    pub with_symbols: PathBuf,
    /// How backtraces are shown.
    pub style: Style,
}

enum Event {
    Output(Vec<u8>),
    Ended(Result<Outcome>),
}

/// Images that run. Those that have not started when it is dropped never do; the others end with this process.
pub struct Pool {
    events: Vec<Receiver<Event>>,
    stopped: Arc<AtomicBool>,
}

impl Pool {
    /// Starts the jobs, in their order, so many at the same time.
    pub fn start(jobs: Vec<Job>, at_once: usize) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicUsize::new(0));
        let (senders, events): (Vec<_>, Vec<_>) = jobs.iter().map(|_| mpsc::channel()).unzip();
        let work: Arc<[_]> = jobs.into_iter().zip(senders).collect();
        for _ in 0..at_once.min(work.len()) {
            let (work, next, stopped) = (work.clone(), next.clone(), stopped.clone());
            // A machine ends with the thread that started it, and the thread with this process.
            thread::spawn(move || {
                while let Some((job, sender)) = work.get(next.fetch_add(1, Ordering::Relaxed))
                    && !stopped.load(Ordering::Relaxed)
                {
                    let ended = job.run(sender);
                    let _ = sender.send(Event::Ended(ended));
                }
            });
        }
        Self { events, stopped }
    }

    /// Copies what a job writes to `out`, as it comes, until the job has ended. Once for each job.
    ///
    /// # Errors
    /// The machine did not start; `out` takes no more.
    pub fn follow(&self, job: usize, out: &mut impl Write) -> Result<Outcome> {
        loop {
            match self.events[job].recv().context("the thread of an image has ended")? {
                Event::Output(octets) => {
                    out.write_all(&octets)
                        .and_then(|()| out.flush())
                        .context("cannot write the console's output")?;
                }
                Event::Ended(ended) => return ended,
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

impl Job {
    fn run(&self, sender: &Sender<Event>) -> Result<Outcome> {
        let mut console = Console::new(Output(sender), Symbols::new(&self.with_symbols), self.style);
        let mut written = Ok(());
        let outcome = self.vm.start()?.pump(|octets| {
            written = console.write(octets);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        // Nobody listens any more: then nobody hears of it either.
        let _ = written.and_then(|()| console.finish());
        Ok(outcome)
    }
}

/// The way of a console to whoever follows it.
struct Output<'a>(&'a Sender<Event>);

impl Write for Output<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.send(Event::Output(octets.to_vec())).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
