//! Floods from one neighbourhood against the places of a listener.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Place, Places};

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn is_lost(place: &Place) -> bool {
    place.seat.lost().is_cancelled()
}

fn flood(places: &Arc<Places>, from: &str, count: usize) -> Vec<Place> {
    (0..count).map(|_| places.enter(address(from)).expect("a place")).collect()
}

#[test]
fn one_address_does_not_keep_another_out_and_never_more_have_a_place_than_may() {
    let places = Places::new(4);
    let flood = flood(&places, "192.0.2.1", 4);
    assert!(places.enter(address("192.0.2.1")).is_none(), "its own flood keeps out itself");
    let other = places.enter(address("192.0.2.2")).expect("a place");
    assert!(is_lost(&flood[0]) && flood[1..].iter().all(|place| !is_lost(place)), "the oldest gives way");
    let second = places.enter(address("192.0.2.2")).expect("a place: three and one");
    assert!(places.enter(address("192.0.2.2")).is_none(), "two and two: one more would only turn them round");
    let third = places.enter(address("192.0.2.3")).expect("a place");
    assert_eq!(flood.iter().filter(|place| is_lost(place)).count(), 3);
    assert!(!is_lost(&other) && !is_lost(&second) && !is_lost(&third));
    drop((flood, other, second, third));
    assert_eq!(places.lock().leaving, 0);
    assert_eq!(places.lock().seats.len(), 0);
}

#[test]
fn what_is_unsettled_stays_and_who_is_silent_longest_gives_way() {
    let places = Places::new(3);
    let flood = flood(&places, "192.0.2.1", 3);
    flood[0].seat.set_busy(true);
    flood[1].seat.moved.store(7, Ordering::Release);
    flood[2].seat.moved.store(5, Ordering::Release);
    let other = places.enter(address("192.0.2.2")).expect("a place");
    assert_eq!(flood.iter().map(is_lost).collect::<Vec<_>>(), [false, false, true]);
    drop(other);
    let back = places.enter(address("192.0.2.1")).expect("a free place");
    for place in [&flood[1], &back] {
        place.seat.set_busy(true);
    }
    assert!(places.enter(address("192.0.2.2")).is_none(), "all have something unsettled");
}

#[test]
fn a_few_from_everywhere_are_not_driven_out_by_one_more() {
    let places = Places::new(3);
    let all: Vec<_> = (1..=3).map(|n| places.enter(address(&format!("192.0.2.{n}"))).expect("a place")).collect();
    assert!(places.enter(address("192.0.2.9")).is_none());
    assert!(!all.iter().any(is_lost));
}

#[test]
fn whoever_has_a_network_has_no_more_places_than_one_address() {
    let places = Places::new(3);
    let network: Vec<_> = (1..=3).map(|n| places.enter(address(&format!("2001:db8::{n}"))).expect("a place")).collect();
    assert!(places.enter(address("2001:db8::9")).is_none());
    let other = places.enter(address("2001:db8:0:1::1")).expect("a place");
    assert!(is_lost(&network[0]) && !is_lost(&other));
}

#[test]
fn those_that_leave_slowly_are_bounded_too() {
    let places = Places::new(2);
    let mut leaving = Vec::new();
    for n in 0..5 {
        let own: Vec<_> = (0..2).map_while(|_| places.enter(address("192.0.2.1"))).collect();
        let _other = places.enter(address(&format!("192.0.3.{n}")));
        leaving.extend(own.into_iter().filter(is_lost));
    }
    assert_eq!((leaving.len(), places.lock().leaving), (2, 2));
}
