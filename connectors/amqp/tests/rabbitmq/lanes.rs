//! Lanes: what belongs to one bucket stays in order while the lanes go side by side, whoever reads them; what names no bucket arrives.

use std::collections::BTreeMap;

use connectors_amqp::{AmqpConfig, AmqpSource, Publisher, PublisherConfig, bucket};
use connectors_source::conformance::Message;
use connectors_source::{Delivery, Source};

use crate::broker::{Broker, EXCHANGE, becomes, broker};
use crate::{QUIET, next};

const LANES: u16 = 4;
const BUCKETS: u16 = 40;
const MESSAGES: usize = 400;

/// Per bucket, in the order in which they were settled first, as the inbox takes them.
type Seen = BTreeMap<u16, Vec<usize>>;

fn note(seen: &mut Seen, delivery: &Delivery) {
    let text = std::str::from_utf8(&delivery.body).expect("text");
    let (bucket, n) = text.split_once(' ').expect("bucket and number");
    let (of_bucket, n) = (seen.entry(bucket.parse().expect("a bucket")).or_default(), n.parse().expect("a number"));
    if !of_bucket.contains(&n) {
        of_bucket.push(n);
    }
}

/// As a hospital does it.
async fn publish(rig: &Broker) {
    let config = PublisherConfig {
        url: Some(rig.url.clone()),
        exchange: EXCHANGE.into(),
        routing_key: String::new(),
        ..PublisherConfig::default()
    };
    let mut publisher = Publisher::open(&config, 0).await.expect("connected");
    for n in 0..MESSAGES {
        let bucket = u16::try_from(n).expect("small") % BUCKETS;
        let (key, body) = (format!("{}.adt", rig.key()), format!("{bucket} {n}"));
        let sent = publisher.publish_to_lane(&key, "text/plain", body.as_bytes(), None, Some(bucket));
        sent.await.expect("sent");
    }
    publisher.settle().await.expect("confirmed");
}

fn in_order(seen: &Seen) {
    for (bucket, numbers) in seen {
        let wanted = (0..MESSAGES).filter(|n| n % usize::from(BUCKETS) == usize::from(*bucket));
        assert_eq!(*numbers, wanted.collect::<Vec<_>>(), "bucket {bucket}");
    }
    assert_eq!(seen.len(), usize::from(BUCKETS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_go_side_by_side_and_each_bucket_in_order() {
    let Some(url) = broker() else { return };
    let mut rig = Broker::start(url, "lanes", LANES).await;
    rig.renew().await;
    publish(&rig).await;
    rig.until_waiting(MESSAGES as u32).await;
    let spread = rig.spread().await;
    assert!(spread.iter().all(|lane| *lane > 0), "{spread:?}");
    // one of each lane at once, though none is settled
    let mut source = AmqpSource::start(rig.config(1));
    let mut held = Vec::new();
    for _ in 0..LANES {
        held.push(next(&mut source).await);
    }
    assert_eq!(source.health().borrow().unsettled, u64::from(LANES));
    let mut seen = Seen::new();
    // the last one first: its lane goes on while the others wait
    for _ in 0..MESSAGES {
        let delivery = match held.pop() {
            Some(delivery) => delivery,
            None => next(&mut source).await,
        };
        note(&mut seen, &delivery);
        delivery.accept().await.expect("accepted");
        if let Ok(more) = tokio::time::timeout(QUIET, source.next()).await {
            held.push(more.expect("no error").expect("a delivery"));
        }
    }
    in_order(&seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_names_no_bucket_arrives_by_one_lane() {
    let Some(url) = broker() else { return };
    let mut rig = Broker::start(url, "none", LANES).await;
    rig.renew().await;
    for n in 0..20 {
        rig.publish_to(Message::numbered(n), None).await;
    }
    rig.until_waiting(20).await;
    let mut spread = rig.spread().await;
    spread.sort_unstable();
    assert_eq!(spread, [0, 0, 0, 20]);
    let mut source = AmqpSource::start(rig.config(16));
    for n in 0..20 {
        let delivery = next(&mut source).await;
        assert_eq!(delivery.body, Message::numbered(n).body);
        delivery.accept().await.expect("accepted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_gateway_takes_over_each_lane_where_the_first_left_it() {
    let Some(url) = broker() else { return };
    let mut rig = Broker::start(url.clone(), "over", LANES).await;
    rig.renew().await;
    let mut first = AmqpSource::start(rig.config(16));
    assert!(becomes(&mut first.health(), |h| h.connected).await, "connected");
    let past_the_proxy = AmqpConfig { url: Some(url), ..rig.config(16) };
    let mut second = AmqpSource::start(past_the_proxy.clone());
    assert!(becomes(&mut second.health(), |h| h.connected).await, "connected");
    publish(&rig).await;
    let (mut seen, mut held) = (Seen::new(), Vec::new());
    for _ in 0..100 {
        let delivery = next(&mut first).await;
        note(&mut seen, &delivery);
        delivery.accept().await.expect("accepted");
    }
    assert_eq!(second.health().borrow().last_delivery, None, "the second has nothing to do");
    // the first dies with some in hand; whether its last settlements arrived nobody knows
    for _ in 0..10 {
        held.push(next(&mut first).await);
    }
    rig.proxy.reachable.store(false, std::sync::atomic::Ordering::SeqCst);
    rig.proxy.cut();
    drop((first, held));
    for _ in 0..100 {
        let delivery = next(&mut second).await;
        note(&mut seen, &delivery);
        delivery.accept().await.expect("accepted");
    }
    // the second is stopped in good order: what it has in hand is settled, the rest is the third's
    let mut third = AmqpSource::start(past_the_proxy);
    assert!(becomes(&mut third.health(), |h| h.connected).await, "connected");
    let in_hand = next(&mut second).await;
    second.close();
    assert!(tokio::time::timeout(QUIET, third.next()).await.is_err(), "nothing overtakes what is in hand");
    note(&mut seen, &in_hand);
    in_hand.accept().await.expect("accepted");
    while seen.values().map(Vec::len).sum::<usize>() < MESSAGES {
        let delivery = next(&mut third).await;
        note(&mut seen, &delivery);
        delivery.accept().await.expect("accepted");
    }
    in_order(&seen);
}

#[test]
fn a_bucket_is_ten_bits_of_a_digest() {
    // SHA-256 of nothing begins with e3b0
    assert_eq!(bucket(""), 0xe3b0 >> 6);
    let all: std::collections::BTreeSet<u16> = (0..20_000).map(|n| bucket(&n.to_string())).collect();
    assert_eq!((all.len(), all.last()), (1_024, Some(&1_023)));
}
