//! A cache's name.

use core::fmt;

/// Up to 31 bytes of text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name([u8; 32]);

impl Name {
    /// `text`, cut to what fits.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut bytes = [0; 32];
        // The last byte stays 0.
        let len = (0..bytes.len()).rev().find(|len| *len <= text.len() && text.is_char_boundary(*len)).unwrap_or(0);
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        Self(bytes)
    }

    /// `kmalloc-<size>`, as the kernel names its general caches.
    #[must_use]
    pub fn general(size: usize) -> Self {
        let (prefix, mut bytes) = (b"kmalloc-", [0; 32]);
        bytes[..prefix.len()].copy_from_slice(prefix);
        let digits = size.checked_ilog10().unwrap_or(0) as usize + 1;
        let mut rest = size;
        for place in bytes[prefix.len()..prefix.len() + digits].iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Self(bytes)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        core::str::from_utf8(&self.0[..len]).unwrap_or("?")
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::Name;

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(Name::new("dentry").as_str(), "dentry");
        assert_eq!(Name::new("x".repeat(40).as_str()).as_str(), "x".repeat(31));
        assert_eq!(Name::new(&("y".repeat(30) + "é")).as_str(), "y".repeat(30));
    }

    #[test]
    fn general_names_say_the_size() {
        assert_eq!(Name::general(8).as_str(), "kmalloc-8");
        assert_eq!(Name::general(32_768).as_str(), "kmalloc-32768");
    }
}
