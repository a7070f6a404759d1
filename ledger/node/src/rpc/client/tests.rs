//! Shares: one client's connections and requests count together, another's apart.

use schemas::id::RawPublicKey;

use super::*;

fn key(n: u8) -> PublicKey {
    PublicKey(RawPublicKey([n; 33]))
}

#[test]
fn an_allowance_fills_up_over_a_second_and_no_further() {
    let (allowance, start) = (Allowance::new(10), Instant::now());
    assert!((0..10).all(|_| allowance.take(1, start)), "a second's worth at once");
    assert!(!allowance.take(1, start));
    let later = start + Duration::from_millis(300);
    assert!(!allowance.take(4, later), "all or none");
    assert!(allowance.take(3, later) && !allowance.take(1, later));
    let much_later = start + Duration::from_secs(3_600);
    assert!(!allowance.take(11, much_later), "never more than a second's worth");
    assert!(allowance.take(10, much_later));
    assert!(!allowance.take(1, start), "a clock that goes back gives nothing");
}

#[test]
fn connections_of_a_client_share_its_allowance() {
    let clients = Clients::new();
    let (one, again, other) = (clients.connect(key(1)), clients.connect(key(1)), clients.connect(key(2)));
    let (one, again, other) = (one.unwrap(), again.unwrap(), other.unwrap());
    let all = usize::try_from(limits::RPC_TRANSACTIONS_PER_SECOND_MAX).unwrap();
    assert!(one.may_submit(all));
    assert!(!again.may_submit(all), "the same client's");
    assert!(other.may_submit(all) && one.may_ask());
}

#[test]
fn a_client_that_opens_many_connections_keeps_nobody_out() {
    let clients = Clients::new();
    let connect = |n| clients.connect(key(n));
    let mut open: Vec<_> = (0..limits::RPC_CONNECTIONS_PER_CLIENT_MAX).map(|_| connect(1).expect("a place")).collect();
    assert_eq!(connect(1).err(), Some(Crowded::Client));
    assert!(connect(2).is_ok(), "others have places");
    open.pop();
    open.push(connect(1).expect("a place is free again"));
    let rest = limits::RPC_CONNECTIONS_MAX - open.len();
    let mut others: Vec<_> = (0..rest).map(|n| connect(2 + (n / 200) as u8).expect("a place")).collect();
    assert_eq!(connect(9).err(), Some(Crowded::All));
    others.clear();
    assert!(connect(9).is_ok());
}

#[tokio::test]
async fn a_client_that_reads_slowly_holds_a_few_large_answers_and_hinders_nobody() {
    let clients = Clients::new();
    let (slow, again, other) = (clients.connect(key(1)), clients.connect(key(1)), clients.connect(key(2)));
    let (slow, again, other) = (slow.unwrap(), again.unwrap(), other.unwrap());
    let now = |client: Client| async move { tokio::time::timeout(Duration::ZERO, client.large()).await.ok().flatten() };
    let mut held = Vec::new();
    for _ in 0..limits::RPC_LARGE_ANSWERS_MAX {
        held.push(now(slow.clone()).await.expect("a place"));
    }
    assert!(now(again.clone()).await.is_none(), "the same client's");
    assert!(now(other).await.is_some(), "another one has places of its own");
    held.pop();
    assert!(now(again).await.is_some(), "one was written: its place is free again");
}
