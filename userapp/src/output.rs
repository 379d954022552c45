//! Standard output that whoever reads it may close at any time.

use std::io::{self, ErrorKind, Write};

/// Writes until the reader goes away, and quietly drops the rest.
///
/// `dmaproof rules | head` is no error. A test whose report nobody reads to the end still has its
/// exit status.
#[derive(Debug)]
pub struct Output<W> {
    inner: W,
    closed: bool,
}

impl<W: Write> Output<W> {
    /// Output to `inner`.
    pub const fn new(inner: W) -> Self {
        Self { inner, closed: false }
    }

    fn guarded<R>(
        &mut self,
        dropped: R,
        write: impl FnOnce(&mut W) -> io::Result<R>,
    ) -> io::Result<R> {
        if self.closed {
            return Ok(dropped);
        }
        match write(&mut self.inner) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(dropped)
            }
            result => result,
        }
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.guarded(bytes.len(), |inner| inner.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.guarded((), Write::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe whose reader leaves after some bytes, or a disk that is full then.
    struct Limited(usize, ErrorKind);

    impl Write for Limited {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.0);
            self.0 -= length;
            if length == 0 { Err(self.1.into()) } else { Ok(length) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_leaves_is_no_error() {
        let mut output = Output::new(Limited(5, ErrorKind::BrokenPipe));
        output.write_all(b"a long line\n").unwrap();
        output.write_all(b"another\n").unwrap();
        output.flush().unwrap();
    }

    #[test]
    fn other_errors_stay_errors() {
        let mut output = Output::new(Limited(5, ErrorKind::StorageFull));
        assert!(output.write_all(b"a long line\n").is_err());
    }
}
