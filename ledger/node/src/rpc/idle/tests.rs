//! Silence ends a connection, movement does not.

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;

use super::*;

const MAX: Duration = Duration::from_millis(20);

#[tokio::test]
async fn silence_ends_a_connection() {
    let (_client, server) = duplex(64);
    let mut server = Idle::new(server, MAX);
    assert_eq!(server.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_client_that_takes_nothing_ends() {
    let (_client, server) = duplex(4);
    let mut server = Idle::new(server, MAX);
    assert_eq!(server.write_all(&[0; 64]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn what_moved_since_the_alarm_was_set_counts() {
    let (mut client, server) = duplex(64);
    let mut server = Idle::new(server, MAX);
    server.moved += Duration::from_secs(3_600);
    assert!(timeout(MAX * 5, server.read(&mut [0])).await.is_err(), "it may be silent for another hour");
    client.write_all(b"x").await.unwrap();
    server.read_exact(&mut [0]).await.unwrap();
    assert!(server.moved <= Instant::now(), "the byte was noted");
    client.write_all(b"y").await.unwrap();
    let before = server.moved;
    server.write_all(b"an answer").await.unwrap();
    assert!(server.moved > before, "the answer was noted");
}
