//! Cuts a stream of bytes into lines, in bounded memory.

/// The longest line. The kernel's own are shorter.
pub const LINE_MAX: usize = 8192;

/// A line that is too long is left out, and counts.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    is_too_long: bool,
    too_long: u64,
}

impl Lines {
    /// Adds what follows. All whole lines must have been taken.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line, without its end.
    pub fn next_line(&mut self) -> Option<&[u8]> {
        loop {
            let rest = self.bytes.get(self.start..).unwrap_or_default();
            let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
                if rest.len() > LINE_MAX {
                    self.count();
                    self.is_too_long = true;
                    self.clear();
                }
                return None;
            };
            let start = self.start;
            self.start = start.saturating_add(length).saturating_add(1);
            if std::mem::take(&mut self.is_too_long) {
                continue;
            }
            if length > LINE_MAX {
                self.count();
                continue;
            }
            return self.bytes.get(start..start.saturating_add(length));
        }
    }

    /// Forgets the beginning of a line.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// How many lines were too long since the last call.
    pub fn take_too_long(&mut self) -> u64 {
        std::mem::take(&mut self.too_long)
    }

    fn count(&mut self) {
        self.too_long = self.too_long.saturating_add(1);
    }
}
