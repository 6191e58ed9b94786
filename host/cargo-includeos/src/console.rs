//! The console on its way to the user: everything passes at once, except that the lines of backtraces come out with
//! function, file and line.
//!
//! Two kinds of lines are meant: those of the kernel's reports (`abi::report::Frame`), and those that std prints for
//! frames it cannot name, for a stripped image holds no names. Only octets that can still become such a line are
//! held back.

use std::io::{self, Write};

use abi::report::Frame;

use crate::symbols::{Place, Symbolise};

/// How std's backtraces are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// From the panic to `main`, as `RUST_BACKTRACE=1`.
    Short,
    /// Every frame with its address, as `RUST_BACKTRACE=full`.
    Full,
}

/// The console on its way to `out`.
pub struct Console<W, S> {
    out: W,
    symbols: S,
    style: Style,
    /// The line so far, while it may become a frame. `None`: it cannot, and passes.
    held: Option<Vec<u8>>,
    trace: Trace,
    /// Whether the frames of a report have reached what std does before `main`.
    before_main: bool,
}

/// Where we are in a backtrace of std that is shown short.
enum Trace {
    /// Outside, or in frames that are left out: they are kept in case the shown part never comes.
    Before(Vec<(u32, u64)>),
    /// In the part that is shown; the number is that of the next frame.
    Shown(u32),
    /// Behind it.
    After,
}

impl<W: Write, S: Symbolise> Console<W, S> {
    /// A console that writes to `out`.
    pub fn new(out: W, symbols: S, style: Style) -> Self {
        Self {
            out,
            symbols,
            style,
            held: Some(Vec::new()),
            trace: Trace::Before(Vec::new()),
            before_main: false,
        }
    }

    /// Takes what arrived.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.held {
                Some(line) => {
                    bytes = rest;
                    line.push(first);
                    if first == b'\n' {
                        let line = std::mem::take(line);
                        self.whole_line(&line)?;
                    } else if !may_become_frame(line) {
                        let line = self.held.take().unwrap_or_default();
                        self.end_trace()?;
                        self.out.write_all(&line)?;
                    }
                }
                None => {
                    let end = bytes.iter().position(|&b| b == b'\n').map_or(bytes.len(), |at| at + 1);
                    self.out.write_all(&bytes[..end])?;
                    if bytes[end - 1] == b'\n' {
                        self.held = Some(Vec::new());
                    }
                    bytes = &bytes[end..];
                }
            }
        }
        self.out.flush()
    }

    /// Writes what is still held back: nothing more will come.
    pub fn finish(&mut self) -> io::Result<()> {
        self.end_trace()?;
        let line = self.held.replace(Vec::new()).unwrap_or_default();
        self.out.write_all(&line)?;
        self.out.flush()
    }

    /// A line, with its end, that looked like a frame up to there.
    fn whole_line(&mut self, line: &[u8]) -> io::Result<()> {
        let text = std::str::from_utf8(line).unwrap_or_default().trim_end_matches(['\n', '\r']);
        if let Some(frame) = Frame::parse(text) {
            self.end_trace()?;
            return self.report_frame(frame);
        }
        match (parse_std_frame(text), self.style) {
            (Some((index, address)), Style::Full) => self.std_frame_full(index, address),
            (Some((index, address)), Style::Short) => self.std_frame_short(index, address),
            (None, _) => {
                self.end_trace()?;
                self.out.write_all(line)
            }
        }
    }

    /// `  #3 0x0000000000201234 function at file:line`, what it is inlined into below. What std does before `main` is
    /// left out where backtraces are shown short.
    fn report_frame(&mut self, frame: Frame) -> io::Result<()> {
        // A return address may already belong to the next function; the call is before it.
        let call = if frame.index == 0 { frame.address } else { frame.address.saturating_sub(1) };
        let places = self.symbols.places(call);
        let starts_main = places.iter().any(|place| place.function.contains("__rust_begin_short_backtrace"));
        self.before_main =
            self.style == Style::Short && (starts_main || (self.before_main && frame.index > 0));
        if self.before_main {
            return Ok(());
        }
        let Some((innermost, outer)) = places.split_first() else {
            return writeln!(self.out, "{frame} <unknown>");
        };
        writeln!(self.out, "{frame} {}", in_one_line(innermost))?;
        for place in outer {
            writeln!(self.out, "       inlined into {}", in_one_line(place))?;
        }
        Ok(())
    }

    fn std_frame_full(&mut self, index: u32, address: u64) -> io::Result<()> {
        let places = self.symbols.places(address.saturating_sub(1));
        if places.is_empty() {
            return writeln!(self.out, "{index:4}: {address:#18x} - <unknown>");
        }
        for (i, place) in places.iter().enumerate() {
            match i {
                0 => writeln!(self.out, "{index:4}: {address:#18x} - {}", place.function)?,
                _ => writeln!(self.out, "{:27}{}", "", place.function)?,
            }
            self.std_place(place, 31)?;
        }
        Ok(())
    }

    /// Std marks the part worth showing by two functions on the stack.
    fn std_frame_short(&mut self, index: u32, address: u64) -> io::Result<()> {
        let places = self.symbols.places(address.saturating_sub(1));
        let has = |marker: &str| places.iter().any(|place| place.function.contains(marker));
        match &mut self.trace {
            Trace::Before(_) if has("__rust_end_short_backtrace") => self.trace = Trace::Shown(0),
            Trace::Before(frames) => frames.push((index, address)),
            Trace::Shown(_) if has("__rust_begin_short_backtrace") => self.trace = Trace::After,
            Trace::Shown(next) if !places.is_empty() => {
                let number = *next;
                *next += 1;
                for (i, place) in places.iter().enumerate() {
                    match i {
                        0 => writeln!(self.out, "{number:4}: {}", place.function)?,
                        _ => writeln!(self.out, "      {}", place.function)?,
                    }
                    self.std_place(place, 13)?;
                }
            }
            Trace::Shown(_) | Trace::After => {}
        }
        Ok(())
    }

    fn std_place(&mut self, place: &Place, indent: usize) -> io::Result<()> {
        match &place.at {
            Some(at) => writeln!(self.out, "{:indent$}at {at}", ""),
            None => Ok(()),
        }
    }

    /// Something else follows a backtrace. One whose marked part never came is shown whole.
    fn end_trace(&mut self) -> io::Result<()> {
        if let Trace::Before(frames) = std::mem::replace(&mut self.trace, Trace::Before(Vec::new())) {
            for (index, address) in frames {
                self.std_frame_full(index, address)?;
            }
        }
        Ok(())
    }
}

fn in_one_line(place: &Place) -> String {
    match &place.at {
        Some(at) => format!("{} at {at}", place.function),
        None => place.function.clone(),
    }
}

/// A part of a line that is known beforehand.
enum Part {
    Text(&'static [u8]),
    Blanks,
    Digits,
    HexDigits,
}

/// `  #3 0x0000000000201234`
const REPORT_FRAME: [Part; 4] = [Part::Text(b"  #"), Part::Digits, Part::Text(b" 0x"), Part::HexDigits];
/// `   3:           0x201234 - <unknown>`
const STD_FRAME: [Part; 7] = [
    Part::Blanks,
    Part::Digits,
    Part::Text(b": "),
    Part::Blanks,
    Part::Text(b"0x"),
    Part::HexDigits,
    Part::Text(b" - <unknown>"),
];
/// No frame is longer than this.
const LONGEST: usize = 80;

/// Whether a line that begins so, and has no end yet, may turn out to be a frame.
fn may_become_frame(start: &[u8]) -> bool {
    let start = start.strip_suffix(b"\r").unwrap_or(start);
    start.len() <= LONGEST && (is_start_of(&REPORT_FRAME, start) || is_start_of(&STD_FRAME, start))
}

/// Whether `text` is a start of what `parts` describe.
fn is_start_of(parts: &[Part], mut text: &[u8]) -> bool {
    for part in parts {
        let is_member: fn(&u8) -> bool = match part {
            Part::Text(expected) => {
                let common = expected.len().min(text.len());
                if text[..common] != expected[..common] {
                    return false;
                }
                text = &text[common..];
                continue;
            }
            Part::Blanks => |b| *b == b' ',
            Part::Digits => u8::is_ascii_digit,
            Part::HexDigits => u8::is_ascii_hexdigit,
        };
        let len = text.iter().take_while(|b| is_member(b)).count();
        if len == 0 && !text.is_empty() && !matches!(part, Part::Blanks) {
            return false;
        }
        text = &text[len..];
    }
    text.is_empty()
}

/// Index and address of a frame that std could not name.
fn parse_std_frame(line: &str) -> Option<(u32, u64)> {
    let (index, rest) = line.split_once(": ")?;
    let address = rest.strip_suffix(" - <unknown>")?.trim_start().strip_prefix("0x")?;
    Some((index.trim_start().parse().ok()?, u64::from_str_radix(address, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake;

    impl Symbolise for Fake {
        fn places(&mut self, address: u64) -> Vec<Place> {
            let place = |function: &str, at: Option<&str>| Place {
                function: function.to_owned(),
                at: at.map(str::to_owned),
            };
            match address {
                0x1000 => vec![place("fault", Some("src/a.rs:1:2"))],
                0x1fff => vec![place("inner", Some("src/b.rs:3:4")), place("outer", Some("src/b.rs:9:9"))],
                0x2fff => vec![place("std::sys::backtrace::__rust_end_short_backtrace", None)],
                0x3fff => vec![place("std::sys::backtrace::__rust_begin_short_backtrace", None)],
                _ => Vec::new(),
            }
        }
    }

    fn shown(input: &str, style: Style) -> String {
        let (mut whole, mut single) = (Vec::new(), Vec::new());
        let mut console = Console::new(&mut whole, Fake, style);
        console.write(input.as_bytes()).unwrap();
        console.finish().unwrap();
        let mut console = Console::new(&mut single, Fake, style);
        input.bytes().for_each(|byte| console.write(&[byte]).unwrap());
        console.finish().unwrap();
        assert_eq!(whole, single, "octet by octet comes out the same");
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn ordinary_output_is_untouched() {
        for text in [
            "hello\n",
            "no line end",
            "\n\n  \n",
            "  # heading\n",
            "   7: 0x12\n",
            "\r\n",
            "  #1 0x\n",
            "ü\n",
        ] {
            assert_eq!(shown(text, Style::Short), text);
        }
    }

    #[test]
    fn report_frames_get_function_and_line() {
        let report = "includeos: page fault\n  #0 0x0000000000001000\r\n  #1 0x0000000000002000\n  #2 0x0000000000009000\n";
        assert_eq!(
            shown(report, Style::Short),
            "includeos: page fault\n  #0 0x0000000000001000 fault at src/a.rs:1:2\n\
             \x20 #1 0x0000000000002000 inner at src/b.rs:3:4\n       inlined into outer at src/b.rs:9:9\n\
             \x20 #2 0x0000000000009000 <unknown>\n"
        );
    }

    #[test]
    fn report_frames_end_at_main() {
        let report = "  #0 0x0000000000001000\n  #1 0x0000000000004000\n  #2 0x0000000000009000\n  #0 0x0000000000001000\n";
        let frame = "  #0 0x0000000000001000 fault at src/a.rs:1:2\n";
        assert_eq!(shown(report, Style::Short), frame.repeat(2));
        assert_eq!(shown(report, Style::Full).lines().count(), 4);
    }

    const TRACE: &str = "stack backtrace:\n   0:             0x9000 - <unknown>\n   1:             0x3000 - <unknown>\n\
                         \x20  2:             0x2000 - <unknown>\n   3:             0x4000 - <unknown>\n\
                         \x20  4:                0x0 - <unknown>\nnext\n";

    #[test]
    fn backtraces_of_std_are_shown_from_marker_to_marker() {
        assert_eq!(
            shown(TRACE, Style::Short),
            "stack backtrace:\n   0: inner\n             at src/b.rs:3:4\n      outer\n             at src/b.rs:9:9\nnext\n"
        );
    }

    #[test]
    fn full_backtraces_keep_every_frame() {
        let full = shown(TRACE, Style::Full);
        assert!(full.contains("   2:             0x2000 - inner\n"), "{full}");
        assert!(full.contains("   4:                0x0 - <unknown>\n"), "{full}");
    }

    #[test]
    fn a_backtrace_without_markers_is_shown_whole() {
        let text = "   0:             0x2000 - <unknown>\nnext\n";
        assert_eq!(shown(text, Style::Short), shown(text, Style::Full));
        assert!(shown(text, Style::Short).contains("inner"));
    }

    #[test]
    fn a_prompt_is_not_held_back() {
        for prompt in ["> ", "name: ", "  * ", "1) "] {
            let mut out = Vec::new();
            let mut console = Console::new(&mut out, Fake, Style::Short);
            console.write(prompt.as_bytes()).unwrap();
            drop(console);
            assert_eq!(out, prompt.as_bytes());
        }
    }
}
