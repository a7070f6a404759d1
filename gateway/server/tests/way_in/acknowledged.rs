//! What became of a message is told to its sender where MSH-16 asks for it: over restarts, until the hospital's listener has answered, and again
//! when the message comes again. What nobody asked for is not told, and a header is in no page of the database.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use connectors_hl7v2::Mapper;
use connectors_mllp::{MllpConfig, MllpSender, MllpSource, SenderConfig};
use connectors_source::{Delivery, Source as _};
use gateway_server::config::{ConnectorConfig, connector};
use gateway_server::connectors::Connectors;
use gateway_server::markers::StoredMarkers;
use gateway_server::store::dead_letters::Filter;
use gateway_server::store::{self, application_acks as acks};
use tokio::net::TcpListener;

use crate::world::{Running, World, normaliser, worlds};

const PATIENCE: Duration = Duration::from_secs(30);
const TABLE: &str = "message ADT_Z33\non ADT^Z33\ntime MSH-7\nMSH makes Bundle, MessageHeader\nPID makes Patient\n";

/// An admission, or with `Z33` something that no table is for.
fn message(trigger: &str, control: &str, application: &str) -> String {
    format!(
        "MSH|^~\\&|CANARYAPP|HOSP|GW|HUB|20240101120000||ADT^{trigger}|{control}|P|2.5.1|||AL|{application}\rEVN||20240101120000\r\
         PID|1||p{control}^^^HOSP^MR||Muster^Anna\rPV1|1|I\r"
    )
}

/// On an address of this test alone: nobody listens there for a while, and what other tests open meanwhile must not get the port.
async fn free_address() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.77:0").await.expect("a port");
    socket.local_addr().expect("an address")
}

/// A ward's systems: `lab` is where messages are sent to, `told` where they hear what became of them.
struct Ward {
    running: Running,
    connectors: Connectors,
}

fn configured(world: &World, text: &str) -> ConnectorConfig {
    connector::parse(text, &world.folder.path().join("lab.toml"), &|_| None).expect("a connector")
}

impl Ward {
    async fn open(world: &World, config: ConnectorConfig) -> Self {
        let running = world.start().await;
        let markers = Arc::new(StoredMarkers { store: running.store.clone(), vault: world.vault.clone() });
        let (on, kept) = (Arc::clone(&running.ingest), (running.store.clone(), world.vault.clone()));
        let connectors = Connectors::start((&[config], &[]), on, kept, markers, 1 << 20).await.expect("started");
        Self { running, connectors }
    }

    async fn owed(&self) -> usize {
        acks::due(&self.running.store, "lab", i64::MAX, 100).await.expect("read").len()
    }
}

async fn send(lab: SocketAddr, messages: &[String]) {
    let config = SenderConfig { address: lab.to_string(), tls_roots: None, tls_identity: None, timeout_ms: 30_000 };
    let mut sender = MllpSender::new(config).expect("a sender");
    for message in messages {
        let answer = sender.send(message.as_bytes()).await.expect("sent").expect("answered");
        assert_eq!(answer.code, "CA", "{message}");
    }
}

fn listening(told: SocketAddr) -> MllpSource {
    let text = format!("name = \"his\"\nlisten = \"{told}\"\n");
    MllpSource::start(toml::from_str::<MllpConfig>(&text).expect("a listener")).expect("started")
}

/// The next one as it came, with its code, the message's control id, and the error.
async fn heard(his: &mut MllpSource) -> (Delivery, [String; 3]) {
    let next = tokio::time::timeout(PATIENCE, his.next()).await.expect("in time").expect("no error");
    let delivery = next.expect("an acknowledgement");
    let text = std::str::from_utf8(&delivery.body).expect("text");
    let field = |segment: &str, n: usize| {
        let line = text.split('\r').find(|line| line.starts_with(segment)).unwrap_or_default();
        line.split('|').nth(n).unwrap_or_default().to_owned()
    };
    assert_eq!((field("MSH", 2), field("MSH", 4)), ("GW".into(), "CANARYAPP".into()), "{text}");
    assert_eq!((field("MSH", 14), field("MSH", 15)), ("AL".into(), "NE".into()), "{text}");
    let said = [field("MSA", 1), field("MSA", 2), field("ERR", 5)];
    (delivery, said)
}

/// So many, each taken; sorted.
async fn taken(his: &mut MllpSource, wanted: usize) -> Vec<[String; 3]> {
    let mut all = Vec::new();
    for _ in 0..wanted {
        let (delivery, said) = heard(his).await;
        delivery.accept().await.expect("told");
        all.push(said);
    }
    all.sort();
    all
}

impl Ward {
    async fn nothing_owed(&self) {
        self.running.until("nothing to be owed", || async { self.owed().await == 0 }).await;
    }

    /// Makes what was put off due.
    async fn at_once(&self) {
        let store = &self.running.store;
        let due = acks::due(store, "lab", i64::MAX, 100).await.expect("read");
        let mut write = store.begin().await.expect("begun");
        for due in &due {
            acks::put_off(&mut write, due, 0).await.expect("written");
        }
        store::commit(write).await.expect("committed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_a_message_is_told_to_who_asked() {
    for world in worlds().await {
        let (lab, told) = (free_address().await, free_address().await);
        let plain = format!("kind = \"mllp\"\nlisten = \"{lab}\"\n");
        let telling = configured(&world, &format!("{plain}[application_ack]\naddress = \"{told}\"\n"));
        let ward = Ward::open(&world, telling.clone()).await;
        // nobody listens yet
        let messages = [
            message("A01", "1", "AL"),
            message("A01", "2", "ER"),
            message("A01", "3", "NE"),
            message("Z33", "4", "AL"),
            message("Z33", "5", "SU"),
            message("A08", "1", "AL"),
            message("A08", "1", "AL"),
        ];
        send(lab, &messages).await;
        ward.running.idle().await;
        assert_eq!(ward.owed().await, 3, "success of 1, errors of 4 and of the other 1");
        for file in ["gateway.db", "gateway.db-wal"] {
            let pages = std::fs::read(world.folder.path().join(file)).unwrap_or_default();
            assert!(!pages.windows(9).any(|bytes| bytes == b"CANARYAPP"), "{file} holds a header");
        }
        drop(ward.connectors);
        ward.running.stop().await;

        // a mended table and a retry: nobody has heard that they were refused
        let ward = Ward::open(&world, telling).await;
        let mapper = Mapper::with_tables(&[("messages/ADT_Z33.map".to_owned(), TABLE.to_owned())]).expect("a table");
        ward.running.tables.send_replace(Arc::new(normaliser(mapper)));
        let filter = Filter { code: Some("unsupported-message".into()), ..Filter::default() };
        ward.running.ingest.retry(filter, (0, i64::MAX)).await.expect("retried");
        ward.running.indexed(5).await;
        let mut his = listening(told);
        let (delivery, first) = heard(&mut his).await;
        // it is not taken, and comes again as it was: at once over another connection, then it is put off
        let body = delivery.body.clone();
        drop(delivery);
        let (delivery, again) = heard(&mut his).await;
        assert_eq!((&delivery.body, &again), (&body, &first));
        drop(delivery);
        let error = "same-key-other-content";
        let expected = [["AA", "1", ""], ["AA", "4", ""], ["AA", "5", ""], ["AE", "1", error]];
        let others: Vec<_> = expected.into_iter().filter(|said| first != *said).collect();
        assert_eq!(taken(&mut his, 3).await, others);
        ward.running.until("one put off", || async { ward.owed().await == 1 }).await;
        ward.at_once().await;
        let (delivery, again) = heard(&mut his).await;
        assert_eq!((&delivery.body, again), (&body, first));
        delivery.accept().await.expect("told");
        ward.nothing_owed().await;

        // their senders have not heard it
        let again =
            [("A01", "1", "AL"), ("Z33", "5", "SU"), ("A01", "2", "ER"), ("Z34", "7", "AL"), ("Z34", "8", "SU")];
        send(lab, &again.map(|(trigger, control, application)| message(trigger, control, application))).await;
        let code = "unsupported-message";
        assert_eq!(taken(&mut his, 3).await, [["AA", "1", ""], ["AA", "5", ""], ["AE", "7", code]]);
        // once the gateway knows that the first answer was taken: whoever asks again before that has it in its hands
        ward.nothing_owed().await;
        send(lab, &[message("Z34", "7", "AL"), message("Z34", "8", "SU")]).await;
        assert_eq!(taken(&mut his, 1).await, [["AE", "7", code]]);
        ward.nothing_owed().await;

        // what nobody takes in time is given up, and nothing before that
        drop(his);
        send(lab, &[message("A01", "9", "AL")]).await;
        ward.running.until("an answer", || async { ward.owed().await == 1 }).await;
        for (before, late) in [(0, 0), (i64::MAX, 1)] {
            let mut write = ward.running.store.begin().await.expect("begun");
            assert_eq!(acks::expire(&mut write, "lab", before).await.expect("written"), late);
            assert_eq!(acks::expire(&mut write, "other", i64::MAX).await.expect("written"), 0);
            store::commit(write).await.expect("committed");
        }
        assert_eq!(ward.owed().await, 0);

        // nothing is owed any more where nothing is sent any more
        send(lab, &[message("A01", "6", "AL")]).await;
        ward.running.until("an answer", || async { ward.owed().await == 1 }).await;
        let done = ward.connectors.reload(vec![configured(&world, &plain)]).await.expect("reloaded");
        assert_eq!(done.restarted, ["lab"]);
        ward.nothing_owed().await;
        drop(ward.connectors);
        ward.running.stop().await;
    }
}
