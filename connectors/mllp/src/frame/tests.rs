//! Frames however they are split, and what is no frame.

use proptest::prelude::*;

use super::*;

const MAX: usize = 1_000;

/// Everything that comes out of bytes that arrive in pieces of these lengths, over and over.
fn decoded(bytes: &[u8], pieces: &[usize]) -> (Vec<Event>, Decoder) {
    let (mut decoder, mut buffer, mut events) = (Decoder::new(MAX), BytesMut::new(), Vec::new());
    let mut rest = bytes;
    for piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*piece).clamp(1, rest.len()));
        buffer.extend_from_slice(now);
        rest = later;
        while let Some(event) = decoder.decode(&mut buffer) {
            events.push(event);
        }
        assert!(buffer.len() <= MAX + 3 + now.len(), "holds {} bytes", buffer.len());
    }
    (events, decoder)
}

fn message(text: &str) -> Event {
    Event::Message(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn frames_one_by_one_joined_and_split() {
    let two = [encode(b"MSH|one\r"), encode(b"MSH|two")].concat();
    for pieces in [&[1][..], &[2, 3], &[1_000]] {
        let (events, decoder) = decoded(&two, pieces);
        assert_eq!(events, [message("MSH|one\r"), message("MSH|two")], "{pieces:?}");
        assert!(!decoder.is_inside() && decoder.skipped() == 0);
    }
}

#[test]
fn what_is_between_frames_is_skipped_and_counted() {
    let bytes = [&b"GET / HTTP/1.1\r\n\r\n"[..], &encode(b"MSH|a"), b"\r\n\x1c\r", &encode(b"")].concat();
    let (events, decoder) = decoded(&bytes, &[7]);
    assert_eq!(events, [message("MSH|a"), message("")]);
    assert_eq!(decoder.skipped(), 22);
}

#[test]
fn an_end_without_its_carriage_return_ends_all_the_same_when_another_frame_follows() {
    assert_eq!(decoded(b"\x0bMSH|a\x1c\x0bMSH|b\x1c\r", &[1]).0, [message("MSH|a"), message("MSH|b")]);
}

#[test]
fn control_characters_inside_a_message_are_part_of_it() {
    assert_eq!(decoded(b"\x0ba\x0bM\x1cb\x1c\r", &[1]).0, [message("a\x0bM\x1cb")]);
}

#[test]
fn a_frame_that_was_cut_off_gives_way_to_the_next() {
    let (events, _) = decoded(b"\x0bMSH|half\r\x0bMSH|whole\x1c\r", &[3]);
    assert_eq!(events, [Event::Broken { bytes: 9 }, message("MSH|whole")]);
}

#[test]
fn a_long_frame_is_dropped_to_its_end_and_the_next_one_comes() {
    let exact = "x".repeat(MAX);
    let long = format!("MSH|^~\\&|A{}", "x".repeat(3 * MAX));
    let bytes = [encode(exact.as_bytes()), encode(long.as_bytes()), encode(b"MSH|b")].concat();
    for pieces in [&[1][..], &[100, 1], &[10_000]] {
        let (events, _) = decoded(&bytes, pieces);
        let [first, Event::TooLong { head, bytes }, last] = &events[..] else { panic!("{events:?}") };
        assert_eq!((first, last), (&message(&exact), &message("MSH|b")));
        assert!(head.starts_with(b"MSH|^~\\&|A") && *bytes == long.len() as u64, "{pieces:?}: {bytes}");
    }
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_the_same(
        bytes in proptest::collection::vec(prop_oneof![Just(VT), Just(FS), Just(CR), Just(b'M'), Just(b'S'), Just(b'H'), any::<u8>()], 0..3_000),
        pieces in proptest::collection::vec(1_usize..900, 1..8),
    ) {
        let (whole, _) = decoded(&bytes, &[usize::MAX]);
        let (split, _) = decoded(&bytes, &pieces);
        let alike = |events: Vec<Event>| events.into_iter().map(|event| match event {
            // of a long frame as much is kept as had come when it became too long
            Event::TooLong { bytes, .. } => Event::TooLong { head: Bytes::new(), bytes },
            other => other,
        }).collect::<Vec<_>>();
        prop_assert_eq!(alike(whole), alike(split));
    }

    #[test]
    fn what_is_encoded_is_decoded(
        messages in proptest::collection::vec("[^\u{b}\u{1c}]{0,200}", 0..5),
        pieces in proptest::collection::vec(1_usize..50, 1..5),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|text| encode(text.as_bytes())).collect();
        let expected: Vec<Event> = messages.iter().map(|text| message(text)).collect();
        prop_assert_eq!(decoded(&bytes, &pieces).0, expected);
    }
}
