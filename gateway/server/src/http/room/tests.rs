//! Room that is full, turns that are taken, bodies that lie about their size.

use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use futures_util::stream;

use super::super::BODY_WAIT;
use super::{Body, Bytes, LARGE_BYTES, Room};

/// A room that lives as long as the test process.
fn room(kib: u32) -> &'static Room {
    Box::leak(Box::new(Room::new(kib, 2)))
}

fn text(length: usize) -> Body {
    Body::from(vec![b' '; length])
}

#[tokio::test]
async fn a_body_takes_room_as_it_comes_and_gives_it_back() {
    let room = room(8);
    let first = room.read(text(5 << 10), 1 << 20, BODY_WAIT).await.expect("room");
    assert_eq!((first.bytes.len(), room.kib.available_permits()), (5 << 10, 3));
    let mut second = Box::pin(room.read(text(4 << 10), 1 << 20, BODY_WAIT));
    assert!(second.as_mut().now_or_never().is_none(), "it waits for room");
    drop(first);
    assert_eq!(second.await.expect("room").bytes.len(), 4 << 10);
    assert_eq!(room.kib.available_permits(), 8);
}

#[tokio::test]
async fn what_has_not_come_takes_no_room() {
    let room = room(8);
    let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]).chain(stream::pending());
    let mut stalled = Box::pin(room.read(Body::from_stream(begun), 1 << 20, BODY_WAIT));
    assert!(stalled.as_mut().now_or_never().is_none());
    assert_eq!(room.kib.available_permits(), 7);
    drop(stalled);
    assert_eq!(room.kib.available_permits(), 8);
}

#[tokio::test]
async fn bodies_above_their_bound_are_refused_said_or_not() {
    let room = room(8);
    let unsaid = stream::iter((0..2).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 600]))));
    for body in [text(1_001), Body::from_stream(unsaid)] {
        let refused = room.read(body, 1_000, BODY_WAIT).await.err().expect("refused");
        assert_eq!(refused.status(), 413);
    }
    assert_eq!(room.kib.available_permits(), 8);
}

#[tokio::test]
async fn a_large_body_is_looked_at_alone() {
    let room = room(8);
    let small = room.turn(LARGE_BYTES).await.expect("a turn");
    let mut large = Box::pin(room.turn(LARGE_BYTES + 1));
    assert!(large.as_mut().now_or_never().is_none(), "another look is under way");
    drop(small);
    let large = large.await.expect("a turn");
    assert!(Box::pin(room.turn(1)).now_or_never().is_none(), "not beside a large one");
    drop(large);
    assert_eq!(room.look(1, || Ok(7)).await.expect("looked"), 7);
}
