//! The listener against a hospital system that sends over real sockets: every MUST of the sources, TLS with and without clients'
//! certificates, and peers that misbehave. The system of the rig sends what is unanswered again on every connection.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use connectors_mllp::{Decoder, Event, MllpConfig, MllpSender, MllpSource, SenderConfig, encode};
use connectors_source::conformance::{self, Message, Rig, RigFuture, Timing};
use connectors_source::{Rejection, Source};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(30);

/// What a hospital system has to send.
#[derive(Default)]
struct Outbox {
    unanswered: Mutex<VecDeque<Bytes>>,
    aside: Mutex<usize>,
    more: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends everything on each connection without waiting, takes away what is answered, connects again for ever.
async fn hospital(address: SocketAddr, outbox: Arc<Outbox>, mut cut: watch::Receiver<u64>) {
    loop {
        cut.mark_unchanged();
        if let Ok(stream) = TcpStream::connect(address).await {
            tokio::select! {
                _ = cut.changed() => {}
                () = talk(stream, &outbox) => {}
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn talk(mut stream: TcpStream, outbox: &Outbox) {
    let (mut sent, mut decoder, mut buffer) = (0, Decoder::new(1 << 20), BytesMut::new());
    loop {
        let due: Vec<Bytes> = lock(&outbox.unanswered).iter().skip(sent).cloned().collect();
        for body in due {
            if stream.write_all(&encode(&body)).await.is_err() {
                return;
            }
            sent += 1;
        }
        tokio::select! {
            () = outbox.more.notified() => {}
            read = stream.read_buf(&mut buffer) => if !matches!(read, Ok(1..)) { return },
        }
        while let Some(Event::Message(answer)) = decoder.decode(&mut buffer) {
            lock(&outbox.unanswered).pop_front().expect("an answer to something");
            sent -= 1;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            *lock(&outbox.aside) += usize::from(answer.contains("\rMSA|CR|") || answer.contains("\rMSA|AR|"));
        }
    }
}

struct Peer {
    address: SocketAddr,
    outbox: Arc<Outbox>,
    sending: Option<JoinHandle<()>>,
    cut: watch::Sender<u64>,
    /// Has the port while the source shall not.
    occupied: Option<TcpListener>,
}

impl Peer {
    async fn start() -> Self {
        Self {
            address: free().await,
            outbox: Arc::default(),
            sending: None,
            cut: watch::Sender::new(0),
            occupied: None,
        }
    }
}

async fn free() -> SocketAddr {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    socket.local_addr().expect("an address")
}

fn config(address: SocketAddr, unsettled_max: u16) -> MllpConfig {
    MllpConfig {
        name: "ward-3".into(),
        listen: address,
        tls_certificate: None,
        tls_key: None,
        tls_clients: None,
        trusted_network: false,
        connections_max: 8,
        unsettled_max,
        message_bytes_max: 4 << 20,
        hl7v2: Default::default(),
        idle_ms: 60_000,
        content_type: "Application/Octet-Stream".into(),
        application_ack: None,
    }
}

impl Rig for Peer {
    fn reset(&mut self) -> RigFuture<'_, ()> {
        Box::pin(async move {
            if let Some(sending) = self.sending.take() {
                sending.abort();
            }
            // another port: the source of the check before may still have deliveries in hand
            (self.address, self.outbox, self.occupied) = (free().await, Arc::default(), None);
            self.sending = Some(tokio::spawn(hospital(self.address, Arc::clone(&self.outbox), self.cut.subscribe())));
        })
    }

    fn open(&mut self, unsettled_max: u16) -> RigFuture<'_, Box<dyn Source>> {
        Box::pin(async move {
            Box::new(MllpSource::start(config(self.address, unsettled_max)).expect("no TLS")) as Box<dyn Source>
        })
    }

    fn publish(&mut self, message: Message) -> RigFuture<'_, ()> {
        Box::pin(async move {
            lock(&self.outbox.unanswered).push_back(message.body);
            self.outbox.more.notify_one();
        })
    }

    fn cut(&mut self) -> RigFuture<'_, ()> {
        Box::pin(async move { self.cut.send_modify(|n| *n += 1) })
    }

    fn listens(&self) -> bool {
        true
    }

    fn set_reachable(&mut self, reachable: bool) -> RigFuture<'_, ()> {
        Box::pin(async move {
            self.occupied = None;
            if !reachable {
                self.occupied = Some(TcpListener::bind(self.address).await.expect("the port"));
            }
        })
    }

    fn put_aside(&mut self) -> RigFuture<'_, usize> {
        Box::pin(async move {
            let answered = async {
                while *lock(&self.outbox.aside) == 0 {
                    tokio::task::yield_now().await;
                }
            };
            drop(tokio::time::timeout(PATIENCE, answered).await);
            *lock(&self.outbox.aside)
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_listener_keeps_every_must() {
    let mut rig = Peer::start().await;
    let broken = conformance::run(&mut rig, Timing::default()).await;
    assert!(broken.is_empty(), "{}", broken.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

const MESSAGE: &[u8] = b"MSH|^~\\&|LAB|NORTH|GW|HUB|20260101||ORU^R01^ORU_R01|77|P|2.5|||AL|NE\rPID|1||4711\r";

fn sender(address: SocketAddr) -> SenderConfig {
    SenderConfig { address: address.to_string(), tls_roots: None, tls_identity: None, timeout_ms: 10_000 }
}

/// A source that listens, once it does.
async fn listening(config: MllpConfig) -> MllpSource {
    let source = MllpSource::start(config).expect("its files");
    let mut health = source.health();
    let connected = tokio::time::timeout(PATIENCE, health.wait_for(|h| h.connected)).await;
    assert!(matches!(connected, Ok(Ok(_))), "it listens");
    source
}

#[tokio::test]
async fn the_sender_hears_what_became_of_each_message() {
    let address = free().await;
    let mut source = listening(config(address, 4)).await;
    let receiving = tokio::spawn(async move {
        source.next().await.expect("no error").expect("a delivery").accept().await.expect("told");
        let refused = source.next().await.expect("no error").expect("a delivery");
        refused.reject(Rejection::TooLarge).await.expect("told");
        source.next().await.expect("no error").expect("a delivery").accept().await.expect("nobody waits for it");
        source
    });
    let mut sender = MllpSender::new(sender(address)).expect("no TLS");
    let answer = sender.send(MESSAGE).await.expect("sent").expect("an answer");
    assert!(answer.is_positive() && answer.code == "CA", "{answer:?}");
    let answer = sender.send(MESSAGE).await.expect("sent").expect("an answer");
    assert!(!answer.is_positive() && answer.code == "CR", "{answer:?}");
    let silent = String::from_utf8_lossy(MESSAGE).replace("|AL|NE", "|NE|NE");
    assert_eq!(sender.send(silent.as_bytes()).await.expect("sent"), None);
    drop(sender);
    receiving.await.expect("no panic");
}

#[tokio::test]
async fn a_listener_that_hangs_up_after_each_answer_is_no_fault() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let listening = tokio::spawn(async move {
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let mut frame = Vec::new();
            while !frame.ends_with(&[0x1c, b'\r']) {
                assert!(stream.read_buf(&mut frame).await.expect("read") > 0, "closed");
            }
            let answer = b"MSH|^~\\&|HIS||GW||20260101||ACK|1|P|2.5\rMSA|CA|77\r";
            stream.write_all(&encode(answer)).await.expect("answered");
        }
    });
    let mut sender = MllpSender::new(sender(address)).expect("no TLS");
    for _ in 0..3 {
        let answer = sender.send(MESSAGE).await.expect("sent").expect("an answer");
        assert!(answer.is_positive(), "{answer:?}");
    }
    listening.await.expect("no panic");
}

#[tokio::test]
async fn a_sender_that_leaves_the_end_of_its_frame_out_is_answered() {
    let address = free().await;
    let mut source = listening(config(address, 4)).await;
    let receiving = tokio::spawn(async move {
        for _ in 0..3 {
            source.next().await.expect("no error").expect("a delivery").accept().await.expect("told");
        }
    });
    let mut stream = TcpStream::connect(address).await.expect("connected");
    // FS alone, FS and a line feed, and as it should be, each after the answer to the one before
    for end in [&b"\x1c"[..], b"\x1c\n", b"\x1c\r"] {
        stream.write_all(&[b"\x0b", MESSAGE, end].concat()).await.expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\x1c\r") {
            let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut answer)).await;
            assert!(read.expect("in time").expect("read") > 0, "closed");
        }
        assert!(answer.windows(8).any(|text| text == b"\rMSA|CA|"), "another answer");
    }
    receiving.await.expect("no panic");
}

#[tokio::test]
async fn what_wanted_no_answer_arrives_although_its_sender_has_gone() {
    let address = free().await;
    let mut source = listening(config(address, 1)).await;
    let silent = String::from_utf8_lossy(MESSAGE).replace("|AL|NE", "|NE|NE");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let frames: Vec<u8> = (0..3).flat_map(|n| encode(silent.replace("|77|", &format!("|{n}|")).as_bytes())).collect();
    stream.write_all(&frames).await.expect("sent");
    drop(stream);
    for n in 0..3 {
        let delivery = tokio::time::timeout(PATIENCE, source.next()).await.expect("in time").expect("no error");
        let delivery = delivery.expect("a delivery");
        assert!(String::from_utf8_lossy(&delivery.body).contains(&format!("|{n}|")));
        delivery.accept().await.expect("nobody waits for it");
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_in_its_turn_and_the_next_one_comes() {
    let address = free().await;
    let mut source = listening(MllpConfig { message_bytes_max: 1_000, ..config(address, 4) }).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let long = [MESSAGE, &[b'x'; 5_000]].concat();
    let all = [encode(MESSAGE), encode(&long), encode(MESSAGE)].concat();
    stream.write_all(&all).await.expect("sent");
    for _ in 0..2 {
        source.next().await.expect("no error").expect("a delivery").accept().await.expect("told");
    }
    let (mut decoder, mut buffer, mut codes) = (Decoder::new(1 << 20), BytesMut::new(), Vec::new());
    while codes.len() < 3 {
        assert!(stream.read_buf(&mut buffer).await.expect("read") > 0, "the connection holds");
        while let Some(Event::Message(answer)) = decoder.decode(&mut buffer) {
            let text = String::from_utf8(answer.to_vec()).expect("text");
            codes.push(text.split("MSA|").nth(1).expect("an MSA")[..2].to_owned());
        }
    }
    assert_eq!(codes, ["CA", "CR", "CA"]);
}

#[tokio::test]
async fn peers_that_misbehave_disturb_nobody() {
    let address = free().await;
    let mut source = listening(MllpConfig { connections_max: 3, ..config(address, 4) }).await;
    let mut stalled = TcpStream::connect(address).await.expect("connected");
    stalled.write_all(b"\x0bMSH|^~\\&|half").await.expect("sent");
    let mut other = TcpStream::connect(address).await.expect("connected");
    other.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut good = MllpSender::new(sender(address)).expect("no TLS");
    let receiving = tokio::spawn(async move {
        source.next().await.expect("no error").expect("a delivery").accept().await.expect("told");
        source
    });
    assert!(good.send(MESSAGE).await.expect("sent").expect("an answer").is_positive());
    // a fourth one is closed at once, the three stay
    let mut fourth = TcpStream::connect(address).await.expect("connected");
    let mut nothing = [0; 1];
    assert!(matches!(fourth.read(&mut nothing).await, Ok(0) | Err(_)), "closed");
    drop(receiving.await.expect("no panic"));
}

/// A connection from another address of this machine.
async fn connect_from(host: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::from(host), 0).into()).expect("an address of this machine");
    socket.connect(to).await.expect("connected")
}

#[tokio::test]
async fn one_address_that_takes_all_places_gives_one_to_another() {
    let address = free().await;
    let mut source = listening(MllpConfig { connections_max: 3, ..config(address, 4) }).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(connect_from([127, 0, 0, 1], address).await);
    }
    // the first of them has something unsettled: it must not lose its place
    silent[0].write_all(&encode(MESSAGE)).await.expect("sent");
    let unsettled = source.next().await.expect("no error").expect("a delivery");
    let mut other = connect_from([127, 0, 0, 2], address).await;
    other.write_all(&encode(MESSAGE)).await.expect("sent");
    let of_other = tokio::time::timeout(PATIENCE, source.next()).await.expect("in time").expect("no error");
    of_other.expect("a delivery").accept().await.expect("told");
    assert!(other.read(&mut [0; 1]).await.expect("an answer") > 0);
    assert_eq!(silent[1].read(&mut [0; 1]).await.expect("closed in good order"), 0, "the oldest silent one");
    unsettled.accept().await.expect("told");
    assert!(silent[0].read(&mut [0; 1]).await.expect("an answer") > 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let address = free().await;
    let source = listening(MllpConfig { idle_ms: 50, ..config(address, 4) }).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(b"\x0bMSH").await.expect("sent");
    assert_eq!(stream.read(&mut [0; 1]).await.expect("closed in good order"), 0);
    drop(source);
}

/// A folder with a certificate authority, a listener's and a sender's certificate.
struct Certificates(PathBuf);

impl Certificates {
    fn make(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("chartseal-mllp-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("names");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        write(&folder, "authority.pem", &authority.self_signed(&key).expect("a certificate").pem());
        let issuer = rcgen::Issuer::new(authority, key);
        for name in ["listener", "sender"] {
            let own = rcgen::KeyPair::generate().expect("a key");
            let of = rcgen::CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).expect("names");
            write(&folder, &format!("{name}.pem"), &of.signed_by(&own, &issuer).expect("a certificate").pem());
            write(&folder, &format!("{name}.key"), &own.serialize_pem());
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("written");
}

#[tokio::test]
async fn over_mutual_tls_only_known_senders_are_heard() {
    let files = Certificates::make("mutual");
    let address = free().await;
    let secured = MllpConfig {
        tls_certificate: Some(files.path("listener.pem")),
        tls_key: Some(files.path("listener.key")),
        tls_clients: Some(files.path("authority.pem")),
        ..config(address, 4)
    };
    let mut source = listening(secured).await;
    let receiving = tokio::spawn(async move {
        source.next().await.expect("no error").expect("a delivery").accept().await.expect("told");
        source
    });
    let unknown = SenderConfig { tls_roots: Some(files.path("authority.pem")), ..sender(address) };
    let known =
        SenderConfig { tls_identity: Some((files.path("sender.pem"), files.path("sender.key"))), ..unknown.clone() };
    for refused in [sender(address), unknown] {
        MllpSender::new(refused).expect("its files").send(MESSAGE).await.expect_err("not heard");
    }
    let answer = MllpSender::new(known).expect("its files").send(MESSAGE).await.expect("sent").expect("an answer");
    assert!(answer.is_positive());
    drop(receiving.await.expect("no panic"));
}

#[tokio::test]
async fn whoever_has_no_certificate_takes_no_place_of_those_who_have() {
    let files = Certificates::make("strangers");
    let address = free().await;
    let secured = MllpConfig {
        tls_certificate: Some(files.path("listener.pem")),
        tls_key: Some(files.path("listener.key")),
        tls_clients: Some(files.path("authority.pem")),
        connections_max: 2,
        ..config(address, 4)
    };
    let mut source = listening(secured).await;
    let mut strangers = Vec::new();
    for _ in 0..20 {
        strangers.push(TcpStream::connect(address).await.expect("connected"));
    }
    let receiving = tokio::spawn(async move {
        source.next().await.expect("no error").expect("a delivery").accept().await.expect("told");
        source
    });
    let known = SenderConfig {
        tls_roots: Some(files.path("authority.pem")),
        tls_identity: Some((files.path("sender.pem"), files.path("sender.key"))),
        ..sender(address)
    };
    let answer = MllpSender::new(known).expect("its files").send(MESSAGE).await.expect("sent").expect("an answer");
    assert!(answer.is_positive());
    drop(receiving.await.expect("no panic"));
}

#[tokio::test]
async fn files_that_are_none_are_named() {
    let files = Certificates::make("none");
    let broken = MllpConfig {
        tls_certificate: Some(files.path("listener.key")),
        tls_key: Some(files.path("listener.key")),
        ..config(free().await, 4)
    };
    let error = MllpSource::start(broken).err().expect("refused").to_string();
    assert!(error.contains("listener.key: found no certificate, expected a certificate chain in PEM"), "{error}");
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let good = config((Ipv4Addr::LOCALHOST, 2575).into(), 4);
    assert_eq!(good.check(), Ok(()));
    let open: SocketAddr = (Ipv4Addr::UNSPECIFIED, 2575).into();
    assert_eq!(MllpConfig { listen: open, trusted_network: true, ..good.clone() }.check(), Ok(()));
    let table = [
        (MllpConfig { name: "a b".into(), ..good.clone() }, "name: expected"),
        (MllpConfig { listen: open, ..good.clone() }, "listen: found an address that others reach and no TLS"),
        (
            MllpConfig { tls_key: Some("k".into()), ..good.clone() },
            "tls_certificate: expected it and `tls_key` together",
        ),
        (MllpConfig { tls_clients: Some("c".into()), ..good.clone() }, "tls_clients: found no `tls_certificate`"),
        (MllpConfig { connections_max: 0, ..good.clone() }, "connections_max: found 0, expected 1 to"),
        (MllpConfig { unsettled_max: 0, ..good.clone() }, "unsettled_max: found 0"),
    ];
    let telling = |address: &str, more: &str| {
        let ack = toml::from_str(&format!("address = \"{address}\"\n{more}")).expect("a section");
        MllpConfig { application_ack: Some(ack), ..good.clone() }
    };
    for near in ["127.0.0.1:1", "localhost:1", "[::1]:1"] {
        assert_eq!(telling(near, "").check(), Ok(()), "{near}");
    }
    assert_eq!(telling("his.example:1", "tls_roots = \"ca.pem\"").check(), Ok(()));
    assert_eq!(MllpConfig { trusted_network: true, ..telling("his.example:1", "") }.check(), Ok(()));
    let told = [
        (telling("his.example", ""), "address: expected `host:port`"),
        (telling("127.0.0.1:port", ""), "address: expected `host:port`"),
        (telling("his.example:1", ""), "address: found another machine's and no TLS"),
        (telling("127.0.0.1:1", "tls_roots = \"r\"\ntls_key = \"k\""), "tls_certificate: expected it and `tls_key`"),
        (telling("127.0.0.1:1", "tls_certificate = \"c\"\ntls_key = \"k\""), "tls_certificate: found no `tls_roots`"),
        (telling("127.0.0.1:1", "timeout_ms = 0"), "timeout_ms: found 0"),
    ];
    let table = table.into_iter().chain(told);
    for (config, expected) in table {
        let found = config.check().expect_err(expected);
        assert!(found.contains(expected), "{found}");
    }
}
