//! A validator with a good key and bad intentions, and strangers, at the real ports: what they send is refused with a word in
//! the log, they are let go and come back later, and the honest go on.

use std::sync::Arc;
use std::time::Duration;

use ledger_client::{HttpLedger, Ledger};
use ledger_node::key::{self, ValidatorKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use schemas::block::{Phase, TransactionBytes, ValidatorSignature, Vote, attestation_bytes};
use schemas::cbor;
use schemas::id::{ChainId, Digest};
use schemas::limits;
use schemas::pbft::{Message, PrePrepare, SignedVote};
use schemas::view::{Checkpoint, SignedViewChange, ViewChange};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::log;
use crate::validators::{Validators, execute, silent};

/// Takes whoever answers.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// A TCP connection; whoever was just started may not listen yet.
async fn tcp(address: &str) -> TcpStream {
    let connecting = async {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), connecting).await.expect("somebody listens")
}

/// A connection with a key, and its own address.
async fn tls(validators: &Validators, key: &str, address: &str) -> (TlsStream<TcpStream>, String) {
    let pem = std::fs::read_to_string(validators.home.path().join(key)).unwrap();
    let pair = rcgen::KeyPair::from_pem(&pem).unwrap();
    let params = rcgen::CertificateParams::new(vec!["chartseal-validator".to_owned()]).unwrap();
    let certificate = params.self_signed(&pair).unwrap().der().clone();
    let private = PrivatePkcs8KeyDer::from(pair.serialize_der());
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_client_auth_cert(vec![certificate], private.into())
        .unwrap();
    let stream = tcp(address).await;
    let own = stream.local_addr().unwrap().to_string();
    let name = ServerName::try_from("chartseal-validator").unwrap();
    (TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap(), own)
}

/// Waits until the other side closes.
async fn is_closed(stream: &mut TlsStream<TcpStream>) {
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut [0])).await.expect("it is closed");
    assert!(matches!(read, Ok(0) | Err(_)), "a validator says nothing here");
}

fn frame(message: &Message) -> Vec<u8> {
    framed(&cbor::encode(message))
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

fn vote(chain: ChainId, epoch: u64, phase: Phase) -> Vote {
    Vote { chain, epoch, view: 0, height: 20, phase, digest: Digest([6; 32]) }
}

fn signed(vote: Vote, validator: u16, key: &ValidatorKey) -> SignedVote {
    SignedVote { vote, by: ValidatorSignature { validator, signature: key.sign_bytes(&vote.to_sign()) } }
}

/// What validator 3 may think of: messages that are well formed and do not verify.
fn lies(validators: &Validators) -> Vec<Message> {
    let key = |index: usize| key::open(&validators.home.path().join(format!("{index}.key"))).unwrap();
    let (own, other, chain) = (key(3), key(2), validators.chain);
    let attested = own.sign_bytes(&attestation_bytes(&chain, 0, 20, &Digest([6; 32])));
    let commit = vote(chain, 0, Phase::Commit);
    let as_vote = SignedVote { vote: commit, by: ValidatorSignature { validator: 3, signature: attested } };
    let checkpoint = Checkpoint::genesis(&chain);
    let change = ViewChange { chain, epoch: 0, view: 1, checkpoint, prepared: vec![] };
    let by_vote = ValidatorSignature { validator: 3, signature: own.sign_bytes(&commit.to_sign()) };
    let batch = schemas::block::Batch::null(chain, 0, 20);
    let (transactions, signature) = (vec![], own.sign_bytes(&vote(chain, 0, Phase::PrePrepare).to_sign()));
    vec![
        // another validator's vote, relayed; its own in another's name
        Message::Vote(signed(commit, 2, &other)),
        Message::Vote(signed(commit, 2, &own)),
        // one of another chain
        Message::Vote(signed(vote(ChainId([8; 32]), 0, Phase::Commit), 3, &own)),
        // a signature over something else: an attestation as a vote, a vote as a view change, another's view as its own
        Message::Vote(as_vote),
        Message::ViewChange(SignedViewChange { change, by: by_vote }),
        Message::PrePrepare(PrePrepare { view: 0, batch, transactions, signature }),
        Message::Shown(signed(commit, 0, &own)),
        // no transaction within a request, but a vote
        Message::Request(TransactionBytes(cbor::encode(&commit).into())),
    ]
}

async fn go_on(ledger: &HttpLedger, validators: &Validators, number: u64) {
    execute(ledger, validators.subject(number)).await;
    for validator in &ledger.status().await[..3] {
        let status = validator.status.as_ref().expect("up");
        assert_eq!((&status["view"], &status["mempool"]), (&0.into(), &0.into()), "no view is lost, nothing waits");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_malicious_validator_is_let_go_and_the_honest_go_on() {
    log::listen();
    let mut validators = Validators::new(4);
    (0..3).for_each(|index| validators.start(index));
    let ledger = validators.ledger("transport.key");
    go_on(&ledger, &validators, 1).await;
    let port = |index: usize| validators.configs[index].listen.clone();

    // what is no message ends the connection at once; a vote of another epoch is passed over
    let own = key::open(&validators.home.path().join("3.key")).unwrap();
    let early = frame(&Message::Vote(signed(vote(validators.chain, 7, Phase::Commit), 3, &own)));
    let large = (limits::PEER_FRAME_BYTES_MAX as u32 + 1).to_be_bytes().to_vec();
    let empty = cbor::encode(&Message::Request(TransactionBytes([].into())));
    let batch = schemas::block::Batch::null(validators.chain, 0, 20);
    let (transactions, signature) = (vec![TransactionBytes([].into()); 1 << 20], own.sign_bytes(&[]));
    let many = frame(&Message::PrePrepare(PrePrepare { view: 0, batch, transactions, signature }));
    for (index, bytes, reason) in [
        (0, large, "found a frame of 4194305 bytes"),
        (1, framed(&[]), "found a frame of 0 bytes"),
        (2, many, "that is no message"),
    ] {
        let (mut stream, address) = tls(&validators, "3.key", &port(index)).await;
        stream.write_all(&early).await.unwrap();
        drop(stream.write_all(&bytes).await);
        drop(stream.flush().await);
        is_closed(&mut stream).await;
        let line = log::said(&[&address, reason, "closed_ms=1000"]).await;
        assert!(line.contains("validator-4"), "{line}");
        // too early: its pause is not over
        let (mut stream, address) = tls(&validators, "3.key", &port(index)).await;
        is_closed(&mut stream).await;
        log::said(&[&address, "it may not come back for another"]).await;
        go_on(&ledger, &validators, 2 + index as u64).await;
    }
    assert!(empty.len() < 8, "a request without a transaction is a message");

    // what does not verify is passed over, and too much of it ends the connection
    let lies = lies(&validators);
    for index in 0..3 {
        let (mut stream, address) = loop {
            let (mut stream, address) = tls(&validators, "3.key", &port(index)).await;
            stream.write_all(&frame(&lies[index])).await.unwrap();
            let within = Duration::from_millis(200);
            match tokio::time::timeout(within, stream.read(&mut [0])).await {
                Err(_) => break (stream, address),
                // its pause is not over
                Ok(_) => go_on(&ledger, &validators, 9).await,
            }
        };
        for lie in lies.iter().cycle().take(2 * limits::PEER_INVALID_MAX as usize) {
            drop(stream.write_all(&frame(lie)).await);
        }
        drop(stream.flush().await);
        is_closed(&mut stream).await;
        log::said(&[&address, "validator-4", "more than 32 messages that do not verify", "closed_ms=2000"]).await;
        go_on(&ledger, &validators, 10 + index as u64).await;
    }
    // it proved nothing against the honest, and nothing of it was kept
    for validator in &ledger.status().await[..3] {
        let status = validator.status.as_ref().expect("up");
        assert_eq!(status["evidence"], serde_json::json!([]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_comes_to_a_port_is_a_line_in_the_log() {
    log::listen();
    let mut validators = Validators::new(4);
    let operators = validators.with_operators(0);
    validators.start(0);
    let (peers, rpc) = (validators.configs[0].listen.clone(), validators.configs[0].rpc.clone());
    let http = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n".to_vec();
    let rubbish: Vec<u8> = (0..64_u8).map(|n| n.wrapping_mul(151) ^ 0xa5).collect();
    for (port, address) in [("peers", &peers), ("rpc", &rpc)] {
        for bytes in [&http, &rubbish] {
            let mut stream = tcp(address).await;
            stream.write_all(bytes).await.unwrap();
            let own = stream.local_addr().unwrap().to_string();
            let line = log::said(&[port, &own, "no TLS"]).await;
            assert!(!line.contains("GET") && !line.contains("host"), "{line}");
        }
        let (_stream, own) = tls(&validators, "stranger.key", address).await;
        log::said(&[port, &own, "found a key that may not connect here"]).await;
        drop(tcp(address).await);
    }
    let mut stream = tcp(&operators).await;
    stream.write_all(&rubbish).await.unwrap();
    stream.write_all(b"\r\n\r\n").await.unwrap();
    let own = stream.local_addr().unwrap().to_string();
    log::said(&["operators", &own, "no HTTP request"]).await;
    let (mut stream, own) = tls(&validators, "transport.key", &rpc).await;
    stream.write_all(&rubbish).await.unwrap();
    stream.write_all(b"\r\n\r\n").await.unwrap();
    log::said(&["rpc", &own, "no HTTP request"]).await;

    // more handshakes than there is room for, all from one network: a line names one of them
    let flood = silent(&peers, limits::PEER_HANDSHAKES_MAX + 8).await;
    let line = log::said(&["peers", "127.0.0.2", "too many handshakes under way"]).await;
    assert!(line.contains("remote"), "{line}");
    drop(flood);
}
