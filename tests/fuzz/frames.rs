//! The MLLP decoder: the same bytes give the same messages however they are cut, no byte is counted twice, and no more than one
//! message is held. It must never depend on what a message says.

use bytes::BytesMut;
use connectors_mllp::{Decoder, Event, encode};

use crate::canary::dice_of;
use crate::interop::messages;
use crate::targets::{Target, target};

/// Longest message: more than is kept of one that is too long.
const BYTES_MAX: usize = 5_000;
/// That much is kept of it.
const HEAD_BYTES: usize = 4 << 10;
/// Behind a message may stand what cannot be told yet: `VT`, `M`, `S`.
const PENDING_MAX: usize = 3;

/// What a decoder made of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    events: Vec<Event>,
    skipped: u64,
    inside: bool,
}

/// Feeds a decoder pieces of these lengths.
fn read(bytes: &[u8], mut piece: impl FnMut() -> usize) -> Reading {
    let (mut decoder, mut buffer, mut events) = (Decoder::new(BYTES_MAX), BytesMut::new(), Vec::new());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
        rest = later;
        buffer.extend_from_slice(now);
        while let Some(event) = decoder.decode(&mut buffer) {
            events.push(event);
        }
        assert!(buffer.len() <= BYTES_MAX + PENDING_MAX, "holds {} bytes", buffer.len());
    }
    Reading { events, skipped: decoder.skipped(), inside: decoder.is_inside() }
}

pub fn frames() -> Target {
    target("mllp", samples(), |input| {
        let whole = read(input, || usize::MAX);
        let mut dice = dice_of(input);
        assert_eq!(whole, read(input, || dice.index(700) + 1), "in pieces");
        assert_eq!(whole, read(input, || 1), "byte by byte");
        let mut counted = whole.skipped;
        for event in &whole.events {
            counted += match event {
                Event::Message(message) => {
                    assert!(message.len() <= BYTES_MAX, "a message of {} bytes", message.len());
                    let again = read(&encode(message), || usize::MAX);
                    let same = Reading { events: vec![event.clone()], skipped: 0, inside: false };
                    assert_eq!(again, same, "a message in a frame of its own is the same message");
                    message.len() as u64
                }
                Event::TooLong { head, bytes } => {
                    assert!(*bytes > BYTES_MAX as u64 && head.len() == HEAD_BYTES, "{bytes} are not too many");
                    *bytes
                }
                Event::Broken { bytes } => *bytes,
            };
        }
        assert!(counted <= input.len() as u64, "{counted} bytes of {}", input.len());
        whole.events.iter().any(|event| matches!(event, Event::Message(_)))
    })
}

/// Frames behind each other, with junk between, cut off, too long, and without the carriage return that ends them.
fn samples() -> Vec<Vec<u8>> {
    let messages = messages();
    let [one, two, three, ..] = &messages[..] else { panic!("three messages at least") };
    let long = [&b"MSH|^~\\&|LAB|"[..], &[b'x'; BYTES_MAX]].concat();
    vec![
        [encode(one), encode(two), encode(three)].concat(),
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &encode(one), b"\r\n", &encode(two)].concat(),
        [&b"\x0bMSH|^~\\&|LAB|half\r"[..], &encode(three)].concat(),
        [encode(&long), encode(one)].concat(),
        [&b"\x0b"[..], two, b"\x1c", &encode(three)].concat(),
    ]
}
