//! SMART backend services, both sides: the server's verifies the assertion's signature.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use connectors_fhir::{FhirSource, LoginConfig};
use connectors_source::Source as _;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use crate::markers::lock;
use crate::polling::{config, next};
use crate::server::{Hospital, answer, url_pairs};

/// The server's side.
#[derive(Default)]
pub struct Tokens {
    /// The client's public key; without it everyone is admitted.
    key: Option<(Algorithm, DecodingKey)>,
    seen: HashSet<String>,
    pub valid: Option<String>,
    pub granted: usize,
    pub lives: u64,
    /// Where it says that tokens are given; none: here.
    pub endpoint: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: u64,
    jti: String,
}

impl Tokens {
    pub fn admits(&self, authorization: &str) -> bool {
        self.key.is_none() && self.valid.is_none()
            || self.valid.as_ref().is_some_and(|t| authorization == format!("Bearer {t}"))
    }

    pub fn grant(&mut self, base: &str, form: &str) -> Response<Body> {
        let Some((algorithm, key)) = &self.key else { return answer(400, "") };
        let form = url_pairs(form);
        let mut validation = Validation::new(*algorithm);
        validation.set_audience(&[format!("{base}/token")]);
        let Ok(token) = jsonwebtoken::decode::<Claims>(&form["client_assertion"], key, &validation) else {
            return answer(400, r#"{"error":"invalid_client"}"#);
        };
        let ahead = token.claims.exp.saturating_sub(u64::try_from(crate::server::now() / 1_000).expect("after 1970"));
        let good = token.header.kid.as_deref() == Some("key-1")
            && (token.claims.iss.as_str(), token.claims.sub.as_str()) == ("gateway", "gateway")
            && ahead <= 300
            && self.seen.insert(token.claims.jti)
            && form["grant_type"] == "client_credentials"
            && form["scope"] == "system/Patient.rs system/*.rs"
            && form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        if !good {
            return answer(400, r#"{"error":"invalid_client"}"#);
        }
        self.granted += 1;
        let token = format!("token-{}", self.granted);
        self.valid = Some(token.clone());
        let lives = self.lives;
        answer(200, format!(r#"{{"access_token":"{token}","token_type":"bearer","expires_in":{lives}}}"#))
    }
}

fn key(folder: &Path, algorithm: Algorithm) -> (std::path::PathBuf, DecodingKey) {
    let kind: &rcgen::SignatureAlgorithm = match algorithm {
        Algorithm::ES384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        Algorithm::ES256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        _ => &rcgen::PKCS_RSA_SHA256,
    };
    let pair = rcgen::KeyPair::generate_for(kind).expect("a key");
    let file = folder.join("client.key");
    std::fs::write(&file, pair.serialize_pem()).expect("written");
    let public = pair.public_key_pem();
    let public = match algorithm {
        Algorithm::RS384 => DecodingKey::from_rsa_pem(public.as_bytes()),
        _ => DecodingKey::from_ec_pem(public.as_bytes()),
    };
    (file, public.expect("a public key"))
}

#[tokio::test]
async fn a_signed_assertion_gets_a_token_that_is_kept_and_replaced_when_it_is_refused() {
    for (algorithm, told) in [(Algorithm::ES384, false), (Algorithm::ES256, true), (Algorithm::RS384, false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, public) = key(folder.path(), algorithm);
        let hospital = Hospital::start().await;
        *lock(&hospital.shared.tokens) = Tokens { key: Some((algorithm, public)), lives: 300, ..Tokens::default() };
        let mut config = config(&hospital);
        config.server.login = Some(LoginConfig {
            client_id: "gateway".into(),
            key_file: file,
            key_id: "key-1".into(),
            token_url: told.then(|| format!("{}/token", hospital.base())),
            scopes: vec!["system/Patient.rs".into(), "system/*.rs".into()],
        });
        hospital.put("Patient", "a", r#""active":true"#);
        let mut source = FhirSource::start(config, Arc::<crate::markers::Memory>::default()).expect("its files");
        next(&mut source).await.accept().await.expect("accepted");
        hospital.more_requests(3).await;
        assert_eq!(lock(&hospital.shared.tokens).granted, 1, "{algorithm:?}: one token for all requests");
        // the server forgets it: asked for again, once, and nothing is lost
        lock(&hospital.shared.tokens).valid = None;
        hospital.put("Patient", "b", r#""active":true"#);
        next(&mut source).await.accept().await.expect("accepted");
        assert_eq!(lock(&hospital.shared.tokens).granted, 2, "{algorithm:?}");
        let looked = lock(&hospital.shared.asked).iter().any(|(asked, _)| asked.contains("smart-configuration"));
        assert_eq!(looked, !told, "a token endpoint that is told is not looked for");
    }
}

#[tokio::test]
async fn a_token_is_asked_for_again_before_it_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, public) = key(folder.path(), Algorithm::ES384);
    let hospital = Hospital::start().await;
    let key = Some((Algorithm::ES384, public));
    *lock(&hospital.shared.tokens) = Tokens { key, lives: 1, ..Tokens::default() };
    let mut config = config(&hospital);
    let scopes = vec!["system/Patient.rs".into(), "system/*.rs".into()];
    let (client_id, key_id) = ("gateway".into(), "key-1".into());
    config.server.login = Some(LoginConfig { client_id, key_file: file, key_id, token_url: None, scopes });
    let source = FhirSource::start(config, Arc::<crate::markers::Memory>::default()).expect("its files");
    let granted = async {
        while lock(&hospital.shared.tokens).granted < 2 {
            hospital.more_requests(1).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), granted).await.expect("a second token in time");
    assert!(source.health().borrow().connected, "no request was refused");
}

#[tokio::test]
async fn a_server_that_names_anothers_token_endpoint_sends_nobody_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, public) = key(folder.path(), Algorithm::ES384);
    let (hospital, inside) = (Hospital::start().await, Hospital::start().await);
    let (key, endpoint) = (Some((Algorithm::ES384, public)), Some(format!("{}/token", inside.base())));
    *lock(&hospital.shared.tokens) = Tokens { key, lives: 300, endpoint, ..Tokens::default() };
    let mut config = config(&hospital);
    let (client_id, key_id, scopes) = ("gateway".into(), "key-1".into(), vec!["system/*.rs".into()]);
    config.server.login = Some(LoginConfig { client_id, key_file: file, key_id, token_url: None, scopes });
    let source = FhirSource::start(config, Arc::<crate::markers::Memory>::default()).expect("its files");
    hospital.more_requests(3).await;
    assert!(!source.health().borrow().connected);
    assert!(lock(&inside.shared.asked).is_empty(), "a loopback service was asked for the remote server");
}

#[tokio::test]
async fn a_bearer_token_is_shown_and_a_wrong_one_is_no_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "right\n").expect("written");
    let hospital = Hospital::start().await;
    lock(&hospital.shared.tokens).valid = Some("right".into());
    hospital.put("Patient", "a", r#""active":true"#);
    let mut good = config(&hospital);
    good.server.token_file = Some(file.clone());
    let mut source = FhirSource::start(good.clone(), Arc::<crate::markers::Memory>::default()).expect("its files");
    next(&mut source).await.accept().await.expect("accepted");
    std::fs::write(&file, "wrong\n").expect("written");
    let refused = FhirSource::start(good, Arc::<crate::markers::Memory>::default()).expect("its files");
    hospital.more_requests(20).await;
    assert!(!refused.health().borrow().connected);
}
