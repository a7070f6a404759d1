//! Shares: one client's connections and requests count together, another's apart.

use std::time::Duration;

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
    let second: Vec<_> = (open.len()..limits::RPC_CONNECTIONS_MAX).map(|_| connect(2).expect("a place")).collect();
    assert_eq!(connect(2).err(), Some(Crowded::Client));
    let lost = |held: &[Client]| held.iter().filter(|client| client.lost().is_cancelled()).count();
    let third: Vec<_> = (0..10).map(|_| connect(3).expect("a place of who has most")).collect();
    assert_eq!((lost(&open) + lost(&second), lost(&third)), (10, 0), "the two who have all give");
    assert!(lost(&open) > 0 && lost(&second) > 0 && open[0].lost().is_cancelled(), "in turn, their oldest first");
    let held = third.len() + connect(4).iter().count();
    assert_eq!(held, 11, "and another one still");
}

#[test]
fn whoever_has_as_many_as_anybody_takes_no_place_of_others() {
    let clients = Clients::new();
    let connect = |n| clients.connect(key(n));
    let each = limits::RPC_CONNECTIONS_MAX / 4;
    let held: Vec<_> = (0..4 * each).map(|n| connect((n % 4) as u8).expect("a place")).collect();
    assert_eq!(connect(1).err(), Some(Crowded::All));
    assert!(held.iter().all(|client| !client.lost().is_cancelled()));
    drop(held);
    assert!(clients.open.lock().unwrap().all.is_empty(), "all places came back");
    assert!(connect(1).is_ok());
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
