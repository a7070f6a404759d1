//! One connector that fails, stalls or floods touches no other: beside a feed that goes its way stand a port that is taken, a broker that is
//! away, a server that never answers, a certificate that is not there, and a sender that floods.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use connectors_source::{
    Delivery, HealthReporter, NextDelivery, Settle, SettleFuture, Settlement, Source, SourceHealth,
};
use gateway_server::config::{ConfigError, ConnectorConfig, connector};
use gateway_server::connectors::Connectors;
use gateway_server::ingest::Outcome;
use gateway_server::markers::StoredMarkers;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::journey::{HL7, admission};
use crate::world::{Running, World};

const PATIENCE: Duration = Duration::from_secs(30);
/// Messages of the feed.
const FEED: usize = 40;
/// Connections that flood, and what each has sent before the feed begins.
const FLOODERS: usize = 8;
const FLOODED: usize = 200;

fn message(source: &str, control: usize) -> Vec<u8> {
    let text = format!(
        "MSH|^~\\&|{source}|HOSP|GW|HUB|20240101120000||ADT^A08^ADT_A01|{control}|P|2.5.1|||AL|NE\rEVN|A08|20240101120000\r\
         PID|1||{source}{control}^^^HOSP^MR||Muster^Anna\rPV1|1|I\r"
    );
    [&[0x0b], text.as_bytes(), &[0x1c, b'\r']].concat()
}

async fn acknowledged(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(&[0x1c, b'\r']) {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut answer)).await;
        assert!(read.expect("in time").expect("the connection holds") > 0, "closed");
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("MSA|CA|"), "{text}");
}

/// A port that was free a moment ago.
async fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    socket.local_addr().expect("an address").port()
}

async fn flood(port: u16, from: usize, sent: Arc<AtomicUsize>, over: Arc<AtomicBool>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    for n in from.. {
        if over.load(Ordering::Acquire) {
            return;
        }
        stream.write_all(&message("FLOOD", n)).await.expect("sent");
        acknowledged(&mut stream).await;
        sent.fetch_add(1, Ordering::AcqRel);
    }
}

struct Ward {
    running: Running,
    connectors: Connectors,
    feed: u16,
    flooded: u16,
    _silent: TcpListener,
    _taken: TcpListener,
}

impl Ward {
    async fn open(world: &World) -> Self {
        let running = world.start().await;
        // connections to it are made, and nothing is ever said
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (feed, flooded, away) = (free_port().await, free_port().await, free_port().await);
        let mllp = |port: u16| format!("kind = \"mllp\"\nlisten = \"127.0.0.1:{port}\"\n");
        let port_of = |listener: &TcpListener| listener.local_addr().expect("an address").port();
        let texts = [
            ("feed", mllp(feed)),
            ("flooded", mllp(flooded)),
            ("taken", mllp(port_of(&taken))),
            ("broken", mllp(free_port().await) + "tls_certificate = \"none.pem\"\ntls_key = \"none.key\"\n"),
            ("away", format!("kind = \"amqp\"\nurl = \"amqp://127.0.0.1:{away}/%2f\"\n")),
            (
                "silent",
                format!(
                    "kind = \"fhir\"\ntypes = [\"Patient\"]\ninterval_ms = 20\n[server]\nbase = \"http://127.0.0.1:{}/fhir\"\n",
                    port_of(&silent)
                ),
            ),
        ];
        let configs: Vec<ConnectorConfig> = texts
            .iter()
            .map(|(name, text)| {
                let file = world.folder.path().join(format!("{name}.toml"));
                connector::parse(text, &file, &|_| None).expect("a connector")
            })
            .collect();
        let markers = Arc::new(StoredMarkers { store: running.store.clone(), vault: world.vault.clone() });
        let (on, kept) = (Arc::clone(&running.ingest), (running.store.clone(), world.vault.clone()));
        let typo = ConfigError {
            file: world.folder.path().join("typo.toml"),
            place: Some((2, 1)),
            message: "found unknown key `lissten`".into(),
            suggestion: None,
        };
        let all = (&configs[..], &[typo][..]);
        let connectors = Connectors::start(all, on, kept, markers, 1 << 20).await.expect("started");
        Self { running, connectors, feed, flooded, _silent: silent, _taken: taken }
    }
}

/// Gives one message, and does not hear that it was taken before it is let.
struct Deaf {
    message: Option<Bytes>,
    hears: CancellationToken,
    health: HealthReporter,
}

impl Source for Deaf {
    fn name(&self) -> &str {
        "deaf"
    }

    fn next(&mut self) -> NextDelivery<'_> {
        let message = self.message.take().map(|body| {
            let mut delivery = Delivery::new("deaf", body, 1, Box::new(DeafSettle(self.hears.clone())));
            delivery.content_type = HL7.into();
            delivery
        });
        Box::pin(async move {
            match message {
                Some(delivery) => Ok(Some(delivery)),
                None => std::future::pending().await,
            }
        })
    }

    fn health(&self) -> watch::Receiver<SourceHealth> {
        self.health.subscribe()
    }

    fn close(&mut self) {}
}

struct DeafSettle(CancellationToken);

impl Settle for DeafSettle {
    fn settle(self: Box<Self>, _: Settlement) -> SettleFuture {
        Box::pin(async move {
            self.0.cancelled().await;
            Ok(())
        })
    }

    fn abandon(self: Box<Self>) {}
}

/// An answer that is not read is one sender's own matter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_does_not_hear_its_answer_keeps_no_other_from_theirs() {
    let world = World::new(None);
    let running = world.start().await;
    let hears = CancellationToken::new();
    let message = Some(Bytes::from(admission("1", "a")));
    running.ingest.attach(Box::new(Deaf { message, hears: hears.clone(), health: HealthReporter::default() }));
    running.indexed(1).await;
    let message = admission("2", "b");
    let other = tokio::time::timeout(PATIENCE, running.send(HL7, &message));
    assert_eq!(other.await.expect("it does not wait for the deaf one"), Outcome::Received);
    running.indexed(2).await;
    hears.cancel();
    running.idle().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_that_fails_stalls_or_floods_touches_no_other() {
    let world = World::new(None);
    let on = Ward::open(&world).await;
    let (sent, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let floods: Vec<_> = (0..FLOODERS)
        .map(|n| tokio::spawn(flood(on.flooded, n * 1_000_000, Arc::clone(&sent), Arc::clone(&over))))
        .collect();
    on.running.until("the flood", || async { sent.load(Ordering::Acquire) > FLOODED }).await;
    let mut stream = TcpStream::connect(("127.0.0.1", on.feed)).await.expect("it listens");
    let before = sent.load(Ordering::Acquire);
    for n in 0..FEED {
        stream.write_all(&message("FEED", n)).await.expect("sent");
        acknowledged(&mut stream).await;
    }
    let beside = sent.load(Ordering::Acquire) - before;
    assert!(beside >= FEED, "found {beside} messages of the flood beside {FEED} of the feed: it was none");
    // one connection among nine has its turn about as often as they have
    assert!(beside <= FEED * FLOODERS * 10, "found {beside} messages of the flood beside {FEED} of the feed");
    over.store(true, Ordering::Release);
    for flood in floods {
        flood.await.expect("every message of the flood is acknowledged too");
    }
    let why =
        |name: &str| on.connectors.list().into_iter().find(|state| state.name == name).and_then(|state| state.why);
    on.running.until("why messages cannot arrive", || async { why("taken").is_some() && why("away").is_some() }).await;
    assert!(why("taken").is_some_and(|why| why.contains("cannot listen on 127.0.0.1:")), "{:?}", why("taken"));
    assert!(why("away").is_some_and(|why| why.contains("broker")), "{:?}", why("away"));
    let states = on.connectors.list();
    let of = |name: &str| states.iter().find(|state| state.name == name).expect("configured");
    assert!(of("feed").connected && of("flooded").connected);
    assert!(!of("taken").connected && !of("away").connected && !of("silent").connected);
    assert!(of("broken").fault.as_ref().is_some_and(|fault| fault.contains("none.pem")), "{:?}", of("broken").fault);
    assert!(of("typo").fault.as_ref().is_some_and(|fault| fault.contains("typo.toml:2:1")), "{:?}", of("typo").fault);
    // those that stand still can be paused and drained like any other
    for name in ["taken", "away", "silent", "broken"] {
        assert_eq!(on.connectors.drain(name).await.expect("the store"), Some(true), "{name}");
    }
    on.running.idle().await;
    on.running.stop().await;
}
