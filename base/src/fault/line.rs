//! The line itself, and the end of the program.

use super::Fault;
use core::panic::Location;

/// Writes `kmem: <message> 0x<address> (<place>)` to standard error and aborts.
#[cold]
#[inline(never)]
pub fn die(fault: Fault, address: usize, place: &str) -> ! {
    let mut line = Line::new();
    line.fault(fault, address, place);
    line.write();
    // SAFETY: never returns, runs no destructors.
    unsafe { libc::abort() }
}

/// The same with `, last used at <file>:<line>` behind it.
#[cold]
#[inline(never)]
pub fn die_after(fault: Fault, address: usize, place: &str, last: &Location<'_>) -> ! {
    let mut line = Line::new();
    line.fault(fault, address, place).text(", last used at ").text(last.file()).text(":").decimal(last.line());
    line.write();
    // SAFETY: as in `die`.
    unsafe { libc::abort() }
}

/// Writes `kmem: <text><detail>` to standard error: for what the user should know but the program survives.
#[cold]
pub fn warn(text: &str, detail: &str) {
    let mut line = Line::new();
    line.text("kmem: ").text(text).text(detail);
    line.write();
}

/// A line on the stack; what does not fit is cut, the line's end never.
struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Line {
    const fn new() -> Self {
        Self { bytes: [0; 256], len: 0 }
    }

    fn text(&mut self, text: &str) -> &mut Self {
        text.as_bytes().iter().for_each(|&byte| self.push(byte));
        self
    }

    fn push(&mut self, byte: u8) {
        if self.len < self.bytes.len() - 1 {
            self.bytes[self.len] = byte;
            self.len += 1;
        }
    }

    fn fault(&mut self, fault: Fault, address: usize, place: &str) -> &mut Self {
        self.text("kmem: ").text(fault.message()).text(" 0x").hex(address).text(" (").text(place).text(")")
    }

    fn decimal(&mut self, value: u32) -> &mut Self {
        let digits = value.checked_ilog10().unwrap_or(0);
        for digit in (0..=digits).rev() {
            self.push(b'0' + (value / 10_u32.pow(digit) % 10) as u8);
        }
        self
    }

    fn hex(&mut self, value: usize) -> &mut Self {
        let digits = (usize::BITS - value.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let nibble = (value >> (digit * 4)) as u8 & 15;
            self.push(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
        }
        self
    }

    /// The whole line, with its end.
    fn end(&mut self) -> &[u8] {
        // A place is kept for it.
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = b'\n';
        }
        self.bytes.get(..=self.len).unwrap_or_default()
    }

    fn write(&mut self) {
        let line = self.end();
        // One write, so that lines of several threads do not mix. Nothing can be done if it fails.
        // SAFETY: as many initialised bytes as it says.
        unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;
    use std::string::String;

    fn written(line: &Line) -> &str {
        core::str::from_utf8(&line.bytes[..line.len]).unwrap()
    }

    #[test]
    fn numbers_are_written_as_rust_does() {
        let mut seed = 1_usize;
        for round in 0..500 {
            let value = [0, 1, 9, 10, 15, 16, 255, 256, usize::MAX].get(round).copied().unwrap_or(seed >> (round % 64));
            let mut line = Line::new();
            line.text("<").hex(value).text(" ").decimal(value as u32).text(">");
            assert_eq!(written(&line), format!("<{value:x} {}>", value as u32));
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        }
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let long: String = (0..300_u32).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
        let mut line = Line::new();
        line.text(&long[..250]).text(&long[250..]).hex(17);
        assert_eq!(written(&line), &long[..255]);
    }

    #[test]
    fn a_line_too_long_is_cut_and_still_ends() {
        let mut line = Line::new();
        line.text(&"x".repeat(300)).hex(0xabc);
        let whole = line.end();
        assert_eq!((whole.len(), whole.last()), (256, Some(&b'\n')));
        assert_eq!(Line::new().text("short ").hex(0x10f).end(), b"short 10f\n");
    }

    #[test]
    fn every_fault_has_a_message_of_its_own() {
        for (at, fault) in Fault::ALL.into_iter().enumerate() {
            assert!(fault.message().len() > 10);
            assert!(Fault::ALL[..at].iter().all(|other| other.message() != fault.message()));
        }
    }
}
