//! The socket against clients that keep places for nothing, and its TLS: who is answered, who is not, which files are refused.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::places::{OF_ONE_ADDRESS_MAX, Places};
use super::{Door, Router};

#[test]
fn one_address_has_a_share_only() {
    let places = Places::new();
    let (greedy, other) = (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));
    let mut held: Vec<_> = (0..OF_ONE_ADDRESS_MAX).map_while(|_| places.shake_hands(greedy)).collect();
    assert_eq!(held.len(), OF_ONE_ADDRESS_MAX);
    assert!(places.shake_hands(greedy).is_none());
    assert!(places.shake_hands("::ffff:192.0.2.1".parse().expect("an address")).is_none());
    assert!(places.shake_hands(other).is_some());
    let established = held.pop().and_then(super::places::Place::establish);
    assert!(places.shake_hands(greedy).is_none(), "a connection counts as its handshake did");
    drop(established);
    assert!(places.shake_hands(greedy).is_some());
}

#[tokio::test]
async fn whoever_sends_no_header_is_cut_off_and_others_are_answered() {
    let mut door = Door::open("127.0.0.1:0", None).await.expect("a door");
    door.header_wait = Duration::from_millis(200);
    let (address, stop) = (door.address().expect("an address"), CancellationToken::new());
    let router = Router::new().route("/", get(|| async { "here" }));
    let serving = tokio::spawn(door.serve(router, stop.clone()));
    let mut slow = TcpStream::connect(address).await.expect("connected");
    slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.expect("written");
    let mut answered = TcpStream::connect(address).await.expect("connected");
    answered.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("written");
    let mut text = Vec::new();
    while !text.ends_with(b"here") {
        assert_ne!(answered.read_buf(&mut text).await.expect("read"), 0, "closed before the answer");
    }
    assert_eq!(slow.read_to_end(&mut Vec::new()).await.expect("closed"), 0);
    assert_eq!(answered.read_to_end(&mut Vec::new()).await.expect("closed"), 0, "idle");
    stop.cancel();
    serving.await.expect("no panic").expect("served");
}

/// A hospital's own authority and the certificate of one gateway, in files.
struct Hospital {
    folder: tempfile::TempDir,
    authority: CertificateDer<'static>,
}

impl Hospital {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (ca_key, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&ca_key).expect("a certificate");
        let of_gateway = CertificateParams::new(vec!["gateway.hospital".to_owned()]).expect("a name");
        let certificate = of_gateway.signed_by(&key, &Issuer::new(params, ca_key)).expect("a certificate");
        let chain = certificate.pem() + &authority.pem();
        std::fs::write(folder.path().join("chain.pem"), chain).expect("written");
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).expect("written");
        Self { folder, authority: authority.der().clone() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A door that answers `here` until the guard is dropped.
    async fn serve(&self) -> (SocketAddr, DropGuard) {
        let files = (self.file("chain.pem"), self.file("key.pem"));
        let door = Door::open("127.0.0.1:0", Some((&files.0, &files.1))).await.expect("a door");
        let (address, stop) = (door.address().expect("an address"), CancellationToken::new());
        tokio::spawn(door.serve(Router::new().route("/", get(|| async { "here" })), stop.clone()));
        (address, stop.drop_guard())
    }

    /// What a client hears that trusts this authority and speaks these versions.
    async fn ask(&self, at: SocketAddr, versions: &[&'static SupportedProtocolVersion]) -> io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
        let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
        let name = "gateway.hospital".try_into().expect("a name");
        let mut stream = connector.connect(name, TcpStream::connect(at).await?).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: gateway.hospital\r\nconnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }
}

#[tokio::test]
async fn whoever_trusts_the_hospitals_authority_is_answered() {
    let (hospital, other) = (Hospital::new(), Hospital::new());
    let (address, _open) = hospital.serve().await;
    for version in [&version::TLS13, &version::TLS12] {
        let heard = hospital.ask(address, &[version]).await.expect("answered");
        assert!(heard.starts_with("HTTP/1.1 200 OK") && heard.ends_with("here"), "{heard}");
    }
    other.ask(address, &[&version::TLS13]).await.expect_err("another authority's client does not speak to us");
    hospital.ask(address, &[&version::TLS13]).await.expect("and keeps nobody else out");
}

/// A ClientHello of TLS 1.1: what a machine that was never updated sends.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    // no session, two suites of that time, no compression
    body.extend([0, 0, 4, 0xc0, 0x13, 0x00, 0x2f, 1, 0]);
    let length = u8::try_from(body.len()).expect("short");
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

#[tokio::test]
async fn whoever_speaks_plainly_or_an_old_version_hears_nothing_of_ours() {
    let hospital = Hospital::new();
    let (address, _open) = hospital.serve().await;
    let plain = b"GET / HTTP/1.1\r\nhost: gateway.hospital\r\n\r\n".to_vec();
    // fatal alerts of TLS: no TLS at all; nothing in common, or the version
    for (sent, alerts) in [(plain, &[10, 22, 50, 70][..]), (hello_of_tls_1_1(), &[40, 70])] {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(&sent).await.expect("written");
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.expect("closed");
        let [21, 3, _, 0, 2, 2, alert] = heard.as_slice() else { panic!("found {heard:?}, expected an alert") };
        assert!(alerts.contains(alert), "alert {alert}");
    }
    hospital.ask(address, &[&version::TLS13]).await.expect("others are answered");
}

#[tokio::test]
async fn wrong_files_are_refused_by_name_with_what_was_expected() {
    let (hospital, other) = (Hospital::new(), Hospital::new());
    let (chain, key) = (hospital.file("chain.pem"), hospital.file("key.pem"));
    let absent = hospital.file("absent.pem");
    let broken = hospital.file("broken.pem");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("written");
    for (certificate, secret, named, expected) in [
        (&absent, &key, &absent, "a certificate chain in PEM"),
        (&key, &key, &key, "a certificate chain in PEM"),
        (&broken, &key, &broken, "a certificate chain in PEM"),
        (&chain, &absent, &absent, "a private key in PEM"),
        (&chain, &chain, &chain, "a private key in PEM"),
        (&chain, &other.file("key.pem"), &other.file("key.pem"), "the key of"),
    ] {
        let refused = Door::open("127.0.0.1:0", Some((certificate, secret))).await.err().expect("refused");
        let text = refused.to_string();
        assert!(text.starts_with(&format!("listener TLS: {}: found ", named.display())), "{text}");
        assert!(text.contains(&format!("expected {expected}")), "{text}");
        assert_eq!(refused.class(), schemas::ErrorClass::Caller);
    }
}
