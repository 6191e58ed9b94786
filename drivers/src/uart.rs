//! The 16550 UART at COM1 (data sheet: TI PC16550D). Every machine that QEMU, Firecracker and Cloud Hypervisor make has
//! one; on real PCs it is there or reads as all ones.

use kernel::arch::current::port;
use kernel::device::Console;

const BASE: u16 = 0x3f8;
/// Transmitter holding register (write), receiver buffer (read).
const DATA: u16 = BASE;
/// Interrupt enable.
const IER: u16 = BASE + 1;
/// FIFO control.
const FCR: u16 = BASE + 2;
/// Line control.
const LCR: u16 = BASE + 3;
/// Modem control.
const MCR: u16 = BASE + 4;
/// Line status.
const LSR: u16 = BASE + 5;

/// COM1's ISA interrupt line.
const IRQ: u8 = 4;
/// Interrupt when data is received.
const IER_RECEIVED: u8 = 1;
const LSR_DATA_READY: u8 = 1;
const LSR_THR_EMPTY: u8 = 1 << 5;
/// Octets that may be written when the transmitter is empty.
const FIFO_SIZE: usize = 16;
/// Status reads before a transmitter that stays full is taken for absent.
const PATIENCE: u32 = 1_000_000;

/// COM1.
pub struct Uart(());

static COM1: Uart = Uart(());

/// Sets COM1 to 8N1 with FIFOs, without interrupts, at whatever rate it runs. Works from the first instruction on: it
/// needs neither memory nor interrupts.
pub fn init() -> &'static dyn Console {
    // SAFETY: COM1's ports; the UART does no DMA, and this driver alone uses it.
    unsafe {
        port::outb(IER, 0);
        port::outb(LCR, 0b11);
        port::outb(FCR, 0b111);
        // DTR and RTS for whoever listens, OUT2 to connect the interrupt line.
        port::outb(MCR, 0b1011);
    }
    &COM1
}

impl Console for Uart {
    fn write(&self, bytes: &[u8]) {
        for chunk in bytes.chunks(FIFO_SIZE) {
            // SAFETY: as in `init`.
            let empty = || unsafe { port::inb(LSR) } & LSR_THR_EMPTY != 0;
            if !(0..PATIENCE).any(|_| empty()) {
                return;
            }
            // SAFETY: as in `init`; the FIFO has room for the chunk.
            unsafe { port::outsb(DATA, chunk) };
        }
    }

    fn read(&self) -> Option<u8> {
        // SAFETY: as in `init`. All ones: there is no UART.
        unsafe {
            let status = port::inb(LSR);
            (status != 0xff && status & LSR_DATA_READY != 0).then(|| port::inb(DATA))
        }
    }

    fn enable_input_interrupt(&self) {
        // SAFETY: as in `init`.
        unsafe { port::outb(IER, IER_RECEIVED) };
    }

    fn irq(&self) -> u8 {
        IRQ
    }
}
