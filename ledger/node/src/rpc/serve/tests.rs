//! A header that drips in ends the connection, however steadily it drips; a whole one is answered.

use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;

const WAIT: Duration = Duration::from_millis(100);

fn router() -> Router {
    Router::new().route("/", get(|| async { "here" }))
}

#[tokio::test]
async fn a_dripping_header_ends_the_connection() {
    let (client, server) = duplex(64);
    let (mut answers, mut drip) = tokio::io::split(client);
    let serving = tokio::spawn(converse(server, router(), WAIT, CancellationToken::new()));
    drip.write_all(b"GET / HTTP/1.1\r\nhost: ").await.expect("taken");
    let dripping = tokio::spawn(async move {
        let mut pause = tokio::time::interval(WAIT / 10);
        loop {
            pause.tick().await;
            if drip.write_all(b"x").await.is_err() {
                return;
            }
        }
    });
    answers.read_to_end(&mut Vec::new()).await.expect("closed");
    assert_eq!(serving.await.expect("served"), Ok(()));
    dripping.await.expect("nobody listens any more");
}

#[tokio::test]
async fn a_whole_header_is_answered_and_a_stop_ends_what_waits() {
    let (mut client, server) = duplex(4096);
    let stop = CancellationToken::new();
    let serving = tokio::spawn(converse(server, router(), Duration::from_secs(3_600), stop.clone()));
    client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("taken");
    let mut text = Vec::new();
    while !text.ends_with(b"here") {
        assert_ne!(client.read_buf(&mut text).await.expect("read"), 0, "closed before the answer");
    }
    stop.cancel();
    assert_eq!(serving.await.expect("served"), Ok(()));
}

#[tokio::test]
async fn bytes_that_are_no_request_are_said_to_be_none() {
    let (mut client, server) = duplex(4096);
    client.write_all(b"\x00\x01\x02 what is this\r\n\r\n").await.expect("taken");
    assert_eq!(converse(server, router(), WAIT, CancellationToken::new()).await, Err(Rude));
}
