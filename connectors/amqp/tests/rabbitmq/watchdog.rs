//! Connections, channels and queues that are lost in every way that a source can see: it goes on by itself, with what was in hand.

use std::sync::atomic::Ordering;

use connectors_amqp::AmqpSource;
use connectors_source::conformance::{Message, Rig as _};
use connectors_source::{Delivery, SettleError, Source};
use lapin::options::QueueDeleteOptions;

use crate::broker::{Broker, PATIENCE, becomes, broker};
use crate::next;

/// More attempts than the first delays last: from the sixth on the delay is the longest.
const ATTEMPTS: u64 = 7;

/// A source with one delivery in hand.
async fn started(rig: &mut Broker) -> (AmqpSource, Delivery) {
    rig.renew().await;
    rig.publish(Message::numbered(0)).await;
    let mut source = AmqpSource::start(rig.config(4));
    let in_hand = next(&mut source).await;
    (source, in_hand)
}

/// What was in hand comes again, its former settlement is refused, and new messages arrive.
async fn goes_on(rig: &mut Broker, mut source: AmqpSource, stale: Delivery) {
    assert!(becomes(&mut source.health(), |h| h.connected && h.reconnects == 1).await, "connected again, once");
    assert_eq!(stale.accept().await, Err(SettleError::ConnectionLost));
    rig.publish(Message::numbered(1)).await;
    for n in 0..2 {
        let delivery = next(&mut source).await;
        assert_eq!(delivery.body, Message::numbered(n).body);
        delivery.accept().await.expect("accepted");
    }
    assert_eq!(source.health().borrow().unsettled, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_for_long_is_found_again() {
    let Some(url) = broker() else { return };
    let mut rig = Broker::start(url, "away", 1).await;
    let (source, in_hand) = started(&mut rig).await;
    rig.set_reachable(false).await;
    let mut refused = rig.proxy.refused.clone();
    let tried = tokio::time::timeout(PATIENCE * 4, refused.wait_for(|refused| *refused >= ATTEMPTS)).await;
    assert!(tried.is_ok_and(|tried| tried.is_ok()), "{ATTEMPTS} attempts");
    assert!(!source.health().borrow().connected);
    rig.proxy.reachable.store(true, Ordering::SeqCst);
    goes_on(&mut rig, source, in_hand).await;
}

/// The broker closes it, as after any error: here for an acknowledgement of what was never delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_the_broker_closed_is_made_again() {
    let Some(url) = broker() else { return };
    for lanes in [1, 2] {
        let mut rig = Broker::start(url.clone(), "channel", lanes).await;
        let (source, in_hand) = started(&mut rig).await;
        rig.proxy.err();
        goes_on(&mut rig, source, in_hand).await;
    }
}

/// The broker cancels the consumer of a queue that an administrator deletes; what was in it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_is_made_again() {
    let Some(url) = broker() else { return };
    for lanes in [1, 2] {
        let mut rig = Broker::start(url.clone(), "deleted", lanes).await;
        rig.renew().await;
        let config = rig.config(4);
        let mut source = AmqpSource::start(config.clone());
        let mut health = source.health();
        assert!(becomes(&mut health, |h| h.connected).await, "connected");
        let queue = config.queues().pop().expect("a queue");
        rig.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("deleted");
        assert!(becomes(&mut health, |h| h.connected && h.reconnects > 0).await, "connected again");
        for bucket in 0..16 {
            rig.publish_to(Message::numbered(bucket.into()), Some(bucket)).await;
        }
        let mut left: Vec<_> = (0..16).map(|n| Message::numbered(n).body).collect();
        while !left.is_empty() {
            let delivery = next(&mut source).await;
            left.retain(|body| *body != delivery.body);
            delivery.accept().await.expect("accepted");
        }
    }
}
