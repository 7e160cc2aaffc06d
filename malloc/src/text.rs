//! Text that goes out in pieces, without memory of its own.

use core::ffi::c_int;
use core::fmt;

/// Collects what is written and hands it on a buffer at a time.
pub(crate) struct Text<F: FnMut(&[u8])> {
    buffer: [u8; 512],
    len: usize,
    out: F,
}

impl<F: FnMut(&[u8])> Text<F> {
    pub(crate) const fn new(out: F) -> Self {
        Self { buffer: [0; 512], len: 0, out }
    }

    fn flush(&mut self) {
        (self.out)(&self.buffer[..self.len]);
        self.len = 0;
    }
}

impl<F: FnMut(&[u8])> fmt::Write for Text<F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.len == self.buffer.len() {
                self.flush();
            }
            self.buffer[self.len] = byte;
            self.len += 1;
        }
        Ok(())
    }
}

impl<F: FnMut(&[u8])> Drop for Text<F> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Text to a file descriptor.
pub(crate) fn to_fd(fd: c_int) -> Text<impl FnMut(&[u8])> {
    Text::new(move |mut bytes: &[u8]| {
        while !bytes.is_empty() {
            // SAFETY: as many initialised bytes as it says.
            match unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } {
                // SAFETY: the thread's own errno.
                ..1 if unsafe { *libc::__errno_location() } == libc::EINTR => {}
                // Nothing can be done if it fails.
                ..1 => return,
                written => bytes = &bytes[written as usize..],
            }
        }
    })
}

/// Text to a C stream.
pub(crate) fn to_stream(stream: *mut libc::FILE) -> Text<impl FnMut(&[u8])> {
    Text::new(move |bytes: &[u8]| {
        // SAFETY: an open stream by the caller's promise, and as many bytes as it says.
        unsafe { libc::fwrite(bytes.as_ptr().cast(), 1, bytes.len(), stream) };
    })
}
