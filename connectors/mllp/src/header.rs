//! What an acknowledgement needs of a message: a few fields of its MSH, as bytes. It must never look behind the first
//! segment.

/// Longest MSH that is looked at, in bytes.
const HEADER_BYTES_MAX: usize = 4 << 10;

/// The fields of an MSH, borrowed from the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'m> {
    separator: u8,
    line: &'m [u8],
    /// MSH-2 onwards.
    fields: Vec<&'m [u8]>,
}

impl<'m> Header<'m> {
    /// Reads the header of a message, of the first one in a batch; `None` where there is none.
    pub fn read(message: &'m [u8]) -> Option<Self> {
        let start = message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message);
        let start = start.trim_ascii_start();
        let window = &start[..start.len().min(HEADER_BYTES_MAX)];
        let lines = window.split(|b| matches!(b, b'\r' | b'\n')).filter(|line| !line.is_empty());
        let line = lines.take(3).find(|line| line.starts_with(b"MSH"))?;
        let separator = *line.get(3).filter(|b| b.is_ascii_punctuation())?;
        Some(Self { separator, line, fields: line[4..].split(|b| *b == separator).collect() })
    }

    /// The segment.
    pub const fn line(&self) -> &'m [u8] {
        self.line
    }

    /// MSH-1.
    pub const fn separator(&self) -> u8 {
        self.separator
    }

    /// MSH-`n`, from 2; empty when it is not there.
    pub fn field(&self, n: usize) -> &'m [u8] {
        n.checked_sub(2).and_then(|at| self.fields.get(at)).copied().unwrap_or_default()
    }

    /// The `n`th component of a field, from 1.
    pub fn component(&self, field: usize, n: usize) -> &'m [u8] {
        let separator = self.field(2).first().copied().unwrap_or(b'^');
        self.field(field).split(|b| *b == separator).nth(n - 1).unwrap_or_default()
    }
}
