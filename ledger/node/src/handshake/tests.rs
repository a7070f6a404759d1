//! Who gets a place and who loses his.

use super::*;

fn at(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 1))
}

#[test]
fn a_flood_from_one_place_keeps_nobody_else_out() {
    let handshakes = Handshakes::new(4);
    let flood: Vec<_> = (0..4).map(|_| handshakes.enter(at(1)).expect("room")).collect();
    assert!(handshakes.enter(at(1)).is_none(), "his places are all taken");
    let other = handshakes.enter(at(2)).expect("a place of the flood");
    assert!(flood[0].lost.is_cancelled(), "the oldest lost it");
    assert!(flood[1..].iter().all(|place| !place.lost.is_cancelled()));
    let third = handshakes.enter(at(3)).expect("another one");
    assert!(!other.lost.is_cancelled() && !third.lost.is_cancelled() && flood[1].lost.is_cancelled());
    let second = handshakes.enter(at(2)).expect("the flood still has more");
    assert!(flood[2].lost.is_cancelled() && !second.lost.is_cancelled());
    assert!(handshakes.enter(at(2)).is_none(), "two are most now");
    drop(flood);
    assert!(handshakes.enter(at(2)).is_some(), "a place was freed");
}

#[test]
fn places_come_back() {
    let handshakes = Handshakes::new(2);
    for _ in 0..10 {
        let _one = handshakes.enter(at(1)).expect("room");
        let _two = handshakes.enter(at(1)).expect("room");
        assert!(handshakes.enter(at(1)).is_none());
    }
    assert!(handshakes.under_way.lock().unwrap().all.is_empty());
}

#[test]
fn a_network_of_ipv6_is_one_place() {
    let of = |text: &str| neighbourhood(text.parse().unwrap());
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    assert_ne!(of("10.0.0.2"), of("10.0.0.1"));
}
