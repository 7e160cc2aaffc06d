//! `KMEM_CONF`: any bytes, read as the first allocation reads them.

use kmem_base::knobs::{Accepts, Knob, Knobs, Refusal, Settings, TABLE, When, setting};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd};

/// Bytes of a line on standard error, at most.
const LINE: usize = 256;

/// Reads `data` as `KMEM_CONF`.
pub fn run(data: &[u8]) {
    // What is not UTF-8 is not read at all, and an environment variable ends at the first zero.
    let Ok(text) = std::str::from_utf8(data.split(|byte| *byte == 0).next().unwrap_or(data)) else { return };
    let parts = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let (mut settings, mut complaints) = (Settings::new(), Vec::new());
    for part in parts() {
        let answer = setting(part);
        assert_eq!(answer, expected(part), "{part:?}");
        match answer {
            Ok((knob, value)) => {
                assert_eq!(setting(&spelled(knob, value)), Ok((knob, value)), "{part:?}");
                settings = settings.with(knob, value);
                set_late(knob, value);
            }
            Err(refusal) => complaints.push(format!("kmem: {}{part}\n", refusal.message())),
        }
    }
    let (by_text, by_value) = (Knobs::new(), Knobs::new());
    by_text.start(&Settings::new());
    by_value.start(&settings);
    let said = stderr_of(|| by_text.configure(text));
    for knob in Knob::ALL {
        assert_eq!(by_text.get(knob), by_value.get(knob), "{knob:?}");
    }
    named(&said, &complaints);
}

/// What a setting means, said in another way.
fn expected(part: &str) -> Result<(Knob, u64), Refusal> {
    let colon = part.find(':').ok_or(Refusal::Value)?;
    let (name, value) = (part[..colon].trim(), part[colon + 1..].trim());
    let at = TABLE.iter().position(|row| row.name == name).ok_or(Refusal::Unknown)?;
    let value = match TABLE[at].accepts {
        Accepts::Word(words) => words.iter().zip(0..).find(|(word, _)| **word == value).map(|(_, index)| index),
        Accepts::Number(least, most) => number(value).filter(|value| (u128::from(least)..=u128::from(most)).contains(value)),
    };
    Ok((Knob::ALL[at], value.ok_or(Refusal::Value)? as u64))
}

/// Digits and perhaps a suffix, however large; what no knob accepts may be any large number.
fn number(text: &str) -> Option<u128> {
    let digits = text.strip_suffix(['k', 'm', 'g']).unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    let unit = match &text[digits.len()..] {
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => 1,
    };
    let value = digits
        .chars()
        .try_fold(0_u128, |value, digit| Some(value.saturating_mul(10).saturating_add(u128::from(digit.to_digit(10)?))))?;
    Some(value.saturating_mul(unit))
}

/// A setting as text.
fn spelled(knob: Knob, value: u64) -> String {
    match knob.row().accepts {
        Accepts::Number(..) => format!("{}:{value}", knob.row().name),
        Accepts::Word(words) => format!("{}:{}", knob.row().name, words[value as usize]),
    }
}

/// After the first allocation, only knobs that can be turned at any time are.
fn set_late(knob: Knob, value: u64) {
    let knobs = Knobs::new();
    knobs.start(&Settings::new());
    let before = knobs.get(knob);
    let (answer, after) = match knob.row().when {
        When::Any => (Ok(()), value),
        When::Boot => (Err(Refusal::TooLate), before),
    };
    assert_eq!(knobs.set(knob, value), answer);
    assert_eq!(knobs.get(knob), after);
}

/// Each item refused was named in a line of its own, cut if it was long.
fn named(said: &[u8], complaints: &[String]) {
    let mut rest = said;
    for complaint in complaints {
        let whole = complaint.as_bytes();
        let kept = if whole.len() <= LINE { whole } else { &whole[..LINE - 1] };
        rest = rest.strip_prefix(kept).unwrap_or_else(|| panic!("not said: {complaint:?}"));
        if whole.len() > LINE {
            rest = rest.strip_prefix(b"\n").unwrap_or_else(|| panic!("a line without end: {complaint:?}"));
        }
    }
    assert!(rest.is_empty(), "said for no reason: {:?}", String::from_utf8_lossy(rest));
}

/// What `f` writes to standard error.
fn stderr_of(f: impl FnOnce()) -> Vec<u8> {
    // SAFETY: makes and moves descriptors; nobody else uses them meanwhile.
    let mut file = unsafe {
        let (kept, file) = (libc::dup(2), libc::memfd_create(c"stderr".as_ptr(), libc::MFD_CLOEXEC));
        assert!(kept >= 0 && file >= 0, "no descriptors");
        let file = File::from_raw_fd(file);
        libc::dup2(file.as_raw_fd(), 2);
        f();
        libc::dup2(kept, 2);
        libc::close(kept);
        file
    };
    let mut said = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut said)).expect("a file in memory can be read");
    said
}
