//! Frames: `<VT> message <FS><CR>`. A decoder that is fed bytes as they come, split and joined anywhere, and gives whole
//! messages; bytes between frames are skipped, a frame that grows too long is dropped to its end, a frame that was cut off
//! and begun anew starts anew. It must never hold more than one frame's maximum, nor look at what a message says.

use bytes::{Buf as _, Bytes, BytesMut};

/// Begins a frame.
const VT: u8 = 0x0b;
/// Ends it, before a carriage return.
const FS: u8 = 0x1c;
const CR: u8 = b'\r';
const LF: u8 = b'\n';
/// Of a frame that is too long this much is kept, in bytes: whom to answer stands at its beginning.
const HEAD_BYTES_MAX: usize = 4 << 10;

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole message, without its frame.
    Message(Bytes),
    /// The end of a frame that was longer than the maximum: its beginning, and how long it was.
    TooLong {
        /// At most 4 KiB of it.
        head: Bytes,
        /// All of it, in bytes.
        bytes: u64,
    },
    /// A frame that another one began in the middle of; so many bytes are lost. Its sender never got an answer.
    Broken {
        /// How long it was, in bytes.
        bytes: u64,
    },
}

/// Puts a message into a frame.
pub fn encode(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 3);
    frame.extend_from_slice(&[VT]);
    frame.extend_from_slice(message);
    frame.extend_from_slice(&[FS, CR]);
    frame.freeze()
}

/// Cuts a stream into frames.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    bytes_max: usize,
    /// Bytes that stood outside of any frame.
    skipped: u64,
}

#[derive(Debug)]
enum State {
    /// Before a frame.
    Outside,
    /// In a frame, of which so many bytes were looked at.
    Inside { looked: usize },
    /// In a frame that is too long: what is kept, and how much there was.
    TooLong { head: Bytes, bytes: u64 },
}

/// Where the search for the end of a frame ends.
enum Found {
    /// The frame ends before this place, and the next bytes begin behind the second.
    End(usize, usize),
    /// Another frame begins behind this place.
    Anew(usize),
    /// Nothing yet; everything before this place was looked at.
    Nothing(usize),
}

impl Decoder {
    /// A decoder for messages of at most `bytes_max` bytes.
    pub const fn new(bytes_max: usize) -> Self {
        Self { state: State::Outside, bytes_max, skipped: 0 }
    }

    /// Bytes outside of frames so far: a peer that does not speak MLLP has many.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether a frame is begun and not ended.
    pub const fn is_inside(&self) -> bool {
        !matches!(self.state, State::Outside)
    }

    /// Whether what is there ends like a frame without its carriage return: some senders leave it out and wait for an answer.
    pub fn may_be_whole(&self, buffer: &BytesMut) -> bool {
        matches!(self.state, State::Inside { .. } | State::TooLong { .. }) && buffer.last() == Some(&FS)
    }

    /// Takes the next event out of `buffer`; `None`: more bytes are needed, `buffer` holds only what still matters.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Option<Event> {
        loop {
            match &mut self.state {
                State::Outside => {
                    let start = buffer.iter().position(|b| *b == VT);
                    let junk = start.unwrap_or(buffer.len());
                    self.skipped += junk as u64;
                    buffer.advance(junk);
                    start?;
                    buffer.advance(1);
                    self.state = State::Inside { looked: 0 };
                }
                State::Inside { looked } => match find_end(buffer, *looked) {
                    Found::End(end, next) if end <= self.bytes_max => {
                        self.state = State::Outside;
                        let message = buffer.split_to(end).freeze();
                        buffer.advance(next - end);
                        return Some(Event::Message(message));
                    }
                    Found::Anew(at) if at <= self.bytes_max + 1 => {
                        self.state = State::Inside { looked: 0 };
                        buffer.advance(at);
                        return Some(Event::Broken { bytes: at as u64 - 1 });
                    }
                    Found::Nothing(at) if at <= self.bytes_max => {
                        *looked = at;
                        return None;
                    }
                    Found::End(end, _) | Found::Anew(end) | Found::Nothing(end) => {
                        let head = Bytes::copy_from_slice(&buffer[..HEAD_BYTES_MAX.min(end)]);
                        self.state = State::TooLong { head, bytes: 0 };
                    }
                },
                State::TooLong { head, bytes } => match find_end(buffer, 0) {
                    Found::End(end, next) => {
                        let (head, bytes) = (std::mem::take(head), *bytes + end as u64);
                        self.state = State::Outside;
                        buffer.advance(next);
                        return Some(Event::TooLong { head, bytes });
                    }
                    Found::Anew(at) => {
                        let (head, bytes) = (std::mem::take(head), *bytes + at as u64 - 1);
                        self.state = State::Inside { looked: 0 };
                        buffer.advance(at);
                        return Some(Event::TooLong { head, bytes });
                    }
                    Found::Nothing(at) => {
                        *bytes += at as u64;
                        buffer.advance(at);
                        return None;
                    }
                },
            }
        }
    }
}

/// Looks for the end of a frame. `FS` ends it before `CR`, or `LF` of senders that write that, and before `VT` for senders that leave both
/// out; a `VT` before
/// `MSH` begins another one, as a sender does that lost its connection behind a proxy that did not. Both may stand inside a
/// message otherwise.
fn find_end(buffer: &[u8], from: usize) -> Found {
    let mut at = from;
    while let Some(found) = buffer[at..].iter().position(|b| matches!(*b, FS | VT)) {
        at += found;
        let behind = &buffer[at + 1..];
        match (buffer[at], behind) {
            (FS, []) => return Found::Nothing(at),
            (FS, [CR | LF, ..]) => return Found::End(at, at + 2),
            (FS, [VT, ..]) => return Found::End(at, at + 1),
            (VT, [b'M', b'S', b'H', ..]) => return Found::Anew(at + 1),
            (VT, _) if b"MSH".starts_with(behind) => return Found::Nothing(at),
            _ => at += 1,
        }
    }
    Found::Nothing(buffer.len())
}

#[cfg(test)]
mod tests;
