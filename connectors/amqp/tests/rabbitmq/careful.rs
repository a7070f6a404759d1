//! Queues whose messages were in hand of processes that died: one message at a time is taken, so that a death costs no other, until a
//! run of others shows that it is over. A death is a connection that is cut with everything in hand.

use connectors_amqp::AmqpSource;
use connectors_source::conformance::Message;
use connectors_source::{Delivery, Source};

use crate::broker::{Broker, becomes, broker};
use crate::{QUIET, next};

/// Messages in hand at once, in these tests.
const PREFETCH: u16 = 8;

fn number(delivery: &Delivery) -> (usize, u32) {
    let text = std::str::from_utf8(&delivery.body).expect("text");
    let n = text.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    (n, delivery.redelivery.count.unwrap_or(0))
}

async fn publish(rig: &Broker, numbers: std::ops::Range<usize>) {
    for n in numbers {
        rig.publish_to(Message::numbered(n), None).await;
    }
}

/// So many, none of them settled, and nothing more.
async fn exactly(source: &mut AmqpSource, count: usize) -> Vec<Delivery> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(next(source).await);
    }
    assert!(tokio::time::timeout(QUIET, source.next()).await.is_err(), "no more than {count} in hand");
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_kills_its_process_takes_no_other_with_it() {
    let Some(url) = broker() else { return };
    for lanes in [1, 2] {
        let mut rig = Broker::start(url.clone(), "careful", lanes).await;
        rig.renew().await;
        publish(&rig, 0..40).await;
        // accidents: everything in hand is counted
        for count in 0..3 {
            let mut source = AmqpSource::start(rig.config(PREFETCH));
            let held = exactly(&mut source, PREFETCH.into()).await;
            assert_eq!(held.iter().map(number).collect::<Vec<_>>(), (0..8).map(|n| (n, count)).collect::<Vec<_>>());
            assert_eq!(source.health().borrow().careful, 0);
            rig.die(source, held, 40).await;
        }
        // from now on one at a time; what kills again comes behind what came back with it
        let mut left = 40;
        for count in 3..7 {
            let mut source = AmqpSource::start(rig.config(PREFETCH));
            let mut held = exactly(&mut source, 1).await;
            assert_eq!(source.health().borrow().careful, 1);
            while number(&held[0]).0 != 0 {
                assert_eq!(number(&held[0]).1, 3, "another one, of the accidents alone");
                held.remove(0).accept().await.expect("accepted");
                left -= 1;
                held = exactly(&mut source, 1).await;
            }
            assert_eq!(number(&held[0]), (0, count));
            rig.die(source, held, left).await;
        }
        // one more than the prefetch was in hand while the consumer changed
        assert_eq!(left, 40 - 8);
        let mut source = AmqpSource::start(rig.config(PREFETCH));
        let mut order = Vec::new();
        for _ in 0..17 {
            let delivery = exactly(&mut source, 1).await.remove(0);
            order.push(number(&delivery));
            delivery.accept().await.expect("accepted");
        }
        // the run is over: the configured prefetch, and the rest in order
        let held = exactly(&mut source, PREFETCH.into()).await;
        assert!(becomes(&mut source.health(), |h| h.careful == 0).await, "no longer careful");
        order.extend(held.iter().map(number));
        assert_eq!(order, [(0, 7)].into_iter().chain((9..33).map(|n| (n, 0))).collect::<Vec<_>>());
        for delivery in held {
            delivery.accept().await.expect("accepted");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_came_back_too_often_is_taken_alone_behind_those_before_it() {
    let Some(url) = broker() else { return };
    let mut rig = Broker::start(url, "alone", 1).await;
    rig.renew().await;
    publish(&rig, 0..20).await;
    let mut source = AmqpSource::start(rig.config(PREFETCH));
    let mut held = exactly(&mut source, PREFETCH.into()).await;
    held.remove(0).accept().await.expect("accepted");
    held.push(next(&mut source).await);
    for count in 1..3 {
        held.pop().expect("a delivery").release().await.expect("released");
        let again = next(&mut source).await;
        assert_eq!(number(&again), (8, count));
        held.push(again);
    }
    held.pop().expect("a delivery").release().await.expect("released");
    assert!(becomes(&mut source.health(), |h| h.careful == 1).await, "careful");
    assert!(tokio::time::timeout(QUIET, source.next()).await.is_err(), "those before it are not settled");
    for delivery in held {
        delivery.accept().await.expect("accepted");
    }
    for n in 8..20 {
        let delivery = exactly(&mut source, 1).await.remove(0);
        assert_eq!(number(&delivery), (n, if n == 8 { 3 } else { 0 }));
        delivery.accept().await.expect("accepted");
    }
}
