//! TLS: a server of a hospital's own authority that asks for a certificate.

use std::path::Path;
use std::sync::Arc;

use connectors_fhir::FhirSource;
use connectors_source::Source as _;
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use crate::markers::Memory;
use crate::polling::{config, next};
use crate::server::Hospital;

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("written");
}

fn acceptor(folder: &Path) -> TlsAcceptor {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("names");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&key).expect("a certificate");
    write(folder, "authority.pem", &root.pem());
    let issuer = rcgen::Issuer::new(authority, key);
    let make = || {
        let own = rcgen::KeyPair::generate().expect("a key");
        let of = rcgen::CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).expect("names");
        (of.signed_by(&own, &issuer).expect("a certificate"), own)
    };
    let (client, client_key) = make();
    write(folder, "client.pem", &client.pem());
    write(folder, "client.key", &client_key.serialize_pem());
    let (own, own_key) = make();
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.expect("a verifier"))
        .with_single_cert(
            vec![own.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own_key.serialize_der())),
        );
    TlsAcceptor::from(Arc::new(server.expect("its key")))
}

#[tokio::test]
async fn extra_roots_and_a_certificate_of_ones_own_open_a_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let hospital = Hospital::with_tls(Some(acceptor(folder.path()))).await;
    hospital.put("Patient", "a", r#""active":true"#);
    let mut known = config(&hospital);
    known.server.tls_roots = Some(folder.path().join("authority.pem"));
    let unknown = known.clone();
    known.server.tls_certificate = Some(folder.path().join("client.pem"));
    known.server.tls_key = Some(folder.path().join("client.key"));
    let mut source = FhirSource::start(known.clone(), Arc::<Memory>::default()).expect("its files");
    next(&mut source).await.accept().await.expect("accepted");
    let stranger = FhirSource::start(unknown, Arc::<Memory>::default()).expect("its files");
    let untrusting = FhirSource::start(config(&hospital), Arc::<Memory>::default()).expect("no files");
    hospital.more_requests(20).await;
    assert!(!stranger.health().borrow().connected && !untrusting.health().borrow().connected);
    known.server.tls_key = Some(folder.path().join("authority.pem"));
    let error = FhirSource::start(known, Arc::<Memory>::default()).err().expect("refused").to_string();
    assert!(error.contains("authority.pem: found") && error.contains("expected a private key in PEM"), "{error}");
}
