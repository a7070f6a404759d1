//! The socket against clients that keep places for nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::places::{OF_ONE_ADDRESS_MAX, Places};
use super::{Door, Router};

#[test]
fn one_address_has_a_share_only() {
    let places = Places::new();
    let (greedy, other) = (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));
    let mut held: Vec<_> = (0..OF_ONE_ADDRESS_MAX).map_while(|_| places.shake_hands(greedy)).collect();
    assert_eq!(held.len(), OF_ONE_ADDRESS_MAX);
    assert!(places.shake_hands(greedy).is_none());
    assert!(places.shake_hands("::ffff:192.0.2.1".parse().expect("an address")).is_none());
    assert!(places.shake_hands(other).is_some());
    let established = held.pop().and_then(super::places::Place::establish);
    assert!(places.shake_hands(greedy).is_none(), "a connection counts as its handshake did");
    drop(established);
    assert!(places.shake_hands(greedy).is_some());
}

#[tokio::test]
async fn whoever_sends_no_header_is_cut_off_and_others_are_answered() {
    let mut door = Door::open("127.0.0.1:0", None).await.expect("a door");
    door.header_wait = Duration::from_millis(200);
    let (address, stop) = (door.address().expect("an address"), CancellationToken::new());
    let router = Router::new().route("/", get(|| async { "here" }));
    let serving = tokio::spawn(door.serve(router, stop.clone()));
    let mut slow = TcpStream::connect(address).await.expect("connected");
    slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.expect("written");
    let mut answered = TcpStream::connect(address).await.expect("connected");
    answered.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("written");
    let mut text = Vec::new();
    while !text.ends_with(b"here") {
        assert_ne!(answered.read_buf(&mut text).await.expect("read"), 0, "closed before the answer");
    }
    assert_eq!(slow.read_to_end(&mut Vec::new()).await.expect("closed"), 0);
    assert_eq!(answered.read_to_end(&mut Vec::new()).await.expect("closed"), 0, "idle");
    stop.cancel();
    serving.await.expect("no panic").expect("served");
}
