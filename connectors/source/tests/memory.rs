//! The conformance suite proved on a peer in memory: a conforming source passes every check, and each of the broken ones
//! fails exactly where it is broken. Without this the suite could pass everything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use connectors_source::conformance::{self, Message, Rig, RigFuture, Timing};
use connectors_source::{
    Delivery, HealthReporter, NextDelivery, Settle, SettleError, SettleFuture, Settlement, Source, SourceHealth,
    TraceContext,
};
use tokio::sync::{Notify, watch};

/// How a source misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    LosesOnCancel,
    ChangesBytes,
    ForgetsReleased,
    ForgetsDropped,
    AcceptsNothing,
    DiscardsRejected,
    IgnoresBound,
    DeafAfterCut,
    StaleAccept,
    BlindHealth,
    DropsOnClose,
    LastInFirstOut,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(u64, Message)>,
    /// Unsettled deliveries by tag, with the connection over which they went.
    unsettled: BTreeMap<u64, (u64, u64, Message)>,
    put_aside: usize,
    next_tag: u64,
    next_number: u64,
    connection: u64,
    reachable: bool,
}

struct Peer {
    queue: Mutex<Queue>,
    changed: Notify,
    fault: Fault,
    health: Mutex<Vec<HealthReporter>>,
}

impl Peer {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no test panics with the queue locked")
    }

    fn give_back(&self, of: impl Fn(u64, u64) -> bool) {
        let mut queue = self.lock();
        let tags: Vec<u64> = queue.unsettled.iter().filter(|(t, u)| of(**t, u.0)).map(|(t, _)| *t).collect();
        for tag in tags.into_iter().rev() {
            if let Some((_, number, message)) = queue.unsettled.remove(&tag) {
                let at = queue.waiting.partition_point(|(n, _)| *n < number);
                queue.waiting.insert(at, (number, message));
            }
        }
        drop(queue);
        self.changed.notify_waiters();
    }

    fn each_health(&self, tell: impl Fn(&HealthReporter)) {
        self.health.lock().expect("no test panics with the list locked").iter().for_each(tell);
    }
}

struct MemorySource {
    peer: Arc<Peer>,
    closed: Arc<AtomicBool>,
    health: HealthReporter,
    unsettled_max: usize,
    held: Arc<Mutex<Vec<u64>>>,
}

struct MemorySettle {
    peer: Arc<Peer>,
    tag: u64,
    health: HealthReporter,
    held: Arc<Mutex<Vec<u64>>>,
}

impl MemorySettle {
    fn finish(&self, how: Settlement) -> Result<(), SettleError> {
        self.health.settled();
        self.held.lock().expect("unpoisoned").retain(|t| *t != self.tag);
        let fault = self.peer.fault;
        let mut queue = self.peer.lock();
        let known = queue.unsettled.contains_key(&self.tag);
        if !known {
            return if fault == Fault::StaleAccept { Ok(()) } else { Err(SettleError::ConnectionLost) };
        }
        match how {
            Settlement::Accepted if fault == Fault::AcceptsNothing => {}
            Settlement::Accepted => drop(queue.unsettled.remove(&self.tag)),
            Settlement::Rejected(_) => {
                queue.unsettled.remove(&self.tag);
                queue.put_aside += usize::from(fault != Fault::DiscardsRejected);
            }
            Settlement::Released if fault == Fault::ForgetsReleased => drop(queue.unsettled.remove(&self.tag)),
            Settlement::Released => {
                drop(queue);
                self.peer.give_back(|tag, _| tag == self.tag);
                return Ok(());
            }
        }
        drop(queue);
        self.peer.changed.notify_waiters();
        Ok(())
    }
}

impl Settle for MemorySettle {
    fn settle(self: Box<Self>, how: Settlement) -> SettleFuture {
        Box::pin(async move { self.finish(how) })
    }

    fn abandon(self: Box<Self>) {
        if self.peer.fault == Fault::ForgetsDropped {
            self.peer.lock().unsettled.remove(&self.tag);
        } else {
            let _ = self.finish(Settlement::Released);
        }
    }
}

impl MemorySource {
    /// The next delivery if one is due.
    fn take(&self) -> Option<Delivery> {
        let fault = self.peer.fault;
        let mut held = self.held.lock().expect("unpoisoned");
        let mut queue = self.peer.lock();
        held.retain(|tag| queue.unsettled.contains_key(tag));
        let deaf = fault == Fault::DeafAfterCut && queue.connection > 0;
        let full = held.len() >= self.unsettled_max && fault != Fault::IgnoresBound;
        if deaf || full || !queue.reachable {
            return None;
        }
        let popped = if fault == Fault::LastInFirstOut { queue.waiting.pop_back() } else { queue.waiting.pop_front() };
        let (number, message) = popped?;
        let tag = queue.next_tag;
        queue.next_tag += 1;
        let connection = queue.connection;
        queue.unsettled.insert(tag, (connection, number, message.clone()));
        held.push(tag);
        let settle = MemorySettle {
            peer: Arc::clone(&self.peer),
            tag,
            health: self.health.clone(),
            held: Arc::clone(&self.held),
        };
        let body = if fault == Fault::ChangesBytes {
            Bytes::from(String::from_utf8_lossy(&message.body).into_owned())
        } else {
            message.body
        };
        let mut delivery = Delivery::new("memory", body, 1, Box::new(settle));
        delivery.content_type = message.content_type.to_ascii_lowercase().into();
        delivery.routing = message.routing.into();
        self.health.delivered(1);
        Some(delivery)
    }
}

impl Source for MemorySource {
    fn name(&self) -> &str {
        "memory"
    }

    fn next(&mut self) -> NextDelivery<'_> {
        Box::pin(async move {
            loop {
                let changed = self.peer.changed.notified();
                if self.closed.load(Ordering::Acquire) {
                    return Ok(None);
                }
                if let Some(delivery) = self.take() {
                    if self.peer.fault == Fault::LosesOnCancel {
                        let _ = delivery.accept().await;
                        tokio::task::yield_now().await;
                        std::future::pending::<()>().await;
                        return Ok(None);
                    }
                    return Ok(Some(delivery));
                }
                changed.await;
            }
        })
    }

    fn health(&self) -> watch::Receiver<SourceHealth> {
        self.health.subscribe()
    }

    fn close(&mut self) {
        if self.peer.fault == Fault::DropsOnClose {
            self.peer.lock().waiting.pop_front();
        }
        self.closed.store(true, Ordering::Release);
        self.peer.changed.notify_waiters();
    }
}

struct MemoryRig(Arc<Peer>);

impl MemoryRig {
    fn new(fault: Fault) -> Self {
        let queue = Mutex::new(Queue { reachable: true, ..Queue::default() });
        Self(Arc::new(Peer { queue, changed: Notify::new(), fault, health: Mutex::default() }))
    }
}

impl Rig for MemoryRig {
    fn reset(&mut self) -> RigFuture<'_, ()> {
        *self.0.lock() = Queue { reachable: true, ..Queue::default() };
        self.0.health.lock().expect("unpoisoned").clear();
        Box::pin(async {})
    }

    fn open(&mut self, unsettled_max: u16) -> RigFuture<'_, Box<dyn Source>> {
        let health = HealthReporter::default();
        health.connected(1);
        self.0.health.lock().expect("unpoisoned").push(health.clone());
        // A new consumer: what the one before held unsettled stays with it until it is given back.
        let source = MemorySource {
            peer: Arc::clone(&self.0),
            closed: Arc::default(),
            health,
            unsettled_max: unsettled_max.into(),
            held: Arc::default(),
        };
        if self.0.fault == Fault::AcceptsNothing {
            self.0.give_back(|_, _| true);
        }
        Box::pin(async { Box::new(source) as Box<dyn Source> })
    }

    fn publish(&mut self, message: Message) -> RigFuture<'_, ()> {
        let mut queue = self.0.lock();
        let number = queue.next_number;
        queue.next_number += 1;
        queue.waiting.push_back((number, message));
        drop(queue);
        self.0.changed.notify_waiters();
        Box::pin(async {})
    }

    fn cut(&mut self) -> RigFuture<'_, ()> {
        self.0.lock().connection += 1;
        self.0.each_health(|h| {
            h.disconnected(2);
            h.connected(3);
        });
        let now = self.0.lock().connection;
        self.0.give_back(|_, connection| connection < now);
        Box::pin(async {})
    }

    fn set_reachable(&mut self, reachable: bool) -> RigFuture<'_, ()> {
        self.0.lock().reachable = reachable;
        if self.0.fault != Fault::BlindHealth {
            self.0.each_health(|h| if reachable { h.connected(4) } else { h.disconnected(4) });
        }
        Box::pin(async {})
    }

    fn put_aside(&mut self) -> RigFuture<'_, usize> {
        let count = self.0.lock().put_aside;
        Box::pin(async move { count })
    }
}

async fn broken_rules(fault: Fault) -> Vec<&'static str> {
    // Short, since every fault runs into the waits; a conforming source is given the full time.
    let ms = std::time::Duration::from_millis;
    let timing = Timing { patience: ms(100), quiet: ms(20), recovery: ms(100) };
    conformance::run(&mut MemoryRig::new(fault), timing).await.into_iter().map(|v| v.rule).collect()
}

#[tokio::test]
async fn a_conforming_source_breaks_nothing() {
    let broken = conformance::run(&mut MemoryRig::new(Fault::None), Timing::default()).await;
    assert!(broken.is_empty(), "{broken:?}");
}

#[tokio::test]
async fn every_fault_is_caught_by_its_rule() {
    let table = [
        (Fault::LosesOnCancel, "S3 survives_cancelled_next"),
        (Fault::ChangesBytes, "S2 keeps_bytes"),
        (Fault::ForgetsReleased, "S5 released_comes_again"),
        (Fault::ForgetsDropped, "S5 dropped_comes_again"),
        (Fault::AcceptsNothing, "S4 accepted_is_gone"),
        (Fault::DiscardsRejected, "S6 rejected_is_put_aside"),
        (Fault::IgnoresBound, "S7 bounds_unsettled"),
        (Fault::DeafAfterCut, "S8 recovers"),
        (Fault::StaleAccept, "S8 recovers"),
        (Fault::BlindHealth, "S9 reports_health"),
        (Fault::DropsOnClose, "S10 closes"),
        (Fault::LastInFirstOut, "S11 keeps_order"),
    ];
    for (fault, rule) in table {
        let broken = broken_rules(fault).await;
        assert!(broken.contains(&rule), "{fault:?}: {broken:?}");
    }
}

#[tokio::test]
async fn an_unpolled_accept_releases() {
    let mut rig = MemoryRig::new(Fault::None);
    rig.publish(Message::numbered(0)).await;
    let mut source = rig.open(1).await;
    let delivery = source.next().await.expect("the source lives").expect("a delivery");
    drop(delivery.accept());
    assert_eq!(rig.0.lock().waiting.len(), 1);
}

#[test]
fn only_valid_trace_context_is_taken() {
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(TraceContext::new(Some(good), Some("a=b")).state.as_deref(), Some("a=b"));
    let bad = [
        "",
        "00",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01",
    ];
    for text in bad {
        assert_eq!(TraceContext::new(Some(text), Some("a=b")), TraceContext::default(), "{text}");
    }
    assert_eq!(TraceContext::new(Some(good), Some("a=\u{7f}")).state, None);
}

#[test]
fn debug_shows_no_content() {
    let settle = MemorySettle {
        peer: MemoryRig::new(Fault::None).0,
        tag: 0,
        health: HealthReporter::default(),
        held: Arc::default(),
    };
    let mut delivery = Delivery::new("memory", Bytes::from_static(b"CANARY"), 1, Box::new(settle));
    delivery.routing = "CANARY".into();
    assert!(!format!("{delivery:?}").contains("CANARY"));
}
