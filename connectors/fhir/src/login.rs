//! SMART backend services: a token for a signed assertion (RFC 7523), kept until shortly before it ends. Neither key, assertion nor token
//! may reach an error or a log.

use std::path::Path;
use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Client, Url, header};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use schemas::id::to_hex;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::config::{LoginConfig, ServerConfig};
use crate::error::FhirError;
use crate::server::{answer, file_fault, read};
use crate::time::now_ms;

/// Life of an assertion, in seconds; SMART allows 300.
const ASSERTION_SECONDS: u64 = 240;
/// A token is asked for again this long before it ends, in seconds.
const MARGIN_SECONDS: u64 = 30;
/// Longest that a token is used, in seconds.
const TOKEN_SECONDS_MAX: u64 = 3_600;
/// Largest answer of a token endpoint, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// ASN.1 object identifiers of kinds of keys, encoded.
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// An identifier stands within this many bytes from the beginning of a key.
const KEY_HEAD_BYTES: usize = 48;

/// Logs in to one server.
pub(crate) struct Login {
    config: LoginConfig,
    key: EncodingKey,
    algorithm: Algorithm,
    token: Mutex<Option<Held>>,
}

#[derive(Clone)]
struct Held {
    token: String,
    until: Instant,
}

#[derive(Serialize)]
struct Claims<'c> {
    iss: &'c str,
    sub: &'c str,
    aud: &'c str,
    exp: u64,
    iat: u64,
    jti: String,
}

#[derive(Deserialize)]
struct Discovered {
    token_endpoint: String,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: u64,
}

impl Login {
    /// Reads the key.
    pub fn new(config: LoginConfig) -> Result<Self, FhirError> {
        let (algorithm, key) = key(&config.key_file)?;
        Ok(Self { config, key, algorithm, token: Mutex::new(None) })
    }

    /// A token that holds; `refused` is one that the server did not take.
    pub async fn token(
        &self,
        http: &Client,
        server: &ServerConfig,
        refused: Option<&str>,
    ) -> Result<String, FhirError> {
        let mut held = self.token.lock().await;
        let good = held.as_ref().filter(|h| h.until > Instant::now() && refused != Some(h.token.as_str()));
        if let Some(good) = good {
            return Ok(good.token.clone());
        }
        let granted = self.ask(http, server).await?;
        let lives = granted.expires_in.clamp(1, TOKEN_SECONDS_MAX);
        let until = Instant::now() + Duration::from_secs(lives.saturating_sub(MARGIN_SECONDS.min(lives / 2)));
        *held = Some(Held { token: granted.access_token.clone(), until });
        Ok(granted.access_token)
    }

    async fn ask(&self, http: &Client, server: &ServerConfig) -> Result<Granted, FhirError> {
        let doing = "asking for a token";
        let shape = |found| FhirError::Shape { found, expected: "a token endpoint with TLS and its answer" };
        let url = self.endpoint(http, server).await?;
        let assertion = self.assertion(url.as_str())?;
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", &self.config.scopes.join(" ")),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &assertion),
        ];
        // the form's spelling is that of a query
        let mut form_url = url.clone();
        form_url.query_pairs_mut().clear().extend_pairs(form);
        let body = form_url.query().unwrap_or_default().to_owned();
        let request = http.post(url).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.header(header::ACCEPT, "application/json").body(body);
        let body = read(answer(request, doing).await?, ANSWER_BYTES_MAX, doing).await?;
        let granted: Granted = serde_json::from_slice(&body).map_err(|_| shape("no token in the answer"))?;
        let plain = |b: u8| b.is_ascii_graphic();
        if granted.access_token.is_empty() || !granted.access_token.bytes().all(plain) {
            return Err(shape("a token that no header can hold"));
        }
        Ok(granted)
    }

    /// Where tokens are asked for. What is configured is taken; what the server says of itself must be its own.
    async fn endpoint(&self, http: &Client, server: &ServerConfig) -> Result<Url, FhirError> {
        if let Some(configured) = &self.config.token_url {
            let shape = |found| FhirError::Shape { found, expected: "a token endpoint with TLS" };
            let url = Url::parse(configured).map_err(|_| shape("a token endpoint that is no URL"))?;
            return if server.may_be_asked(&url) { Ok(url) } else { Err(shape("a token endpoint without TLS")) };
        }
        let shape = |found| FhirError::Shape {
            found,
            expected: "a token endpoint with TLS on the host of `base`, or `token_url` in the configuration",
        };
        let doing = "looking for the token endpoint";
        let url = format!("{}/.well-known/smart-configuration", server.base.trim_end_matches('/'));
        let request = http.get(url).header(header::ACCEPT, "application/json");
        let body = read(answer(request, doing).await?, ANSWER_BYTES_MAX, doing).await?;
        let found: Discovered = serde_json::from_slice(&body).map_err(|_| shape("no token endpoint"))?;
        let url = Url::parse(&found.token_endpoint).map_err(|_| shape("a token endpoint that is no URL"))?;
        if server.may_name(&url) { Ok(url) } else { Err(shape("a token endpoint elsewhere or without TLS")) }
    }

    fn assertion(&self, audience: &str) -> Result<String, FhirError> {
        let failed = |found| FhirError::Shape { found, expected: "a signed assertion" };
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(|_| failed("no randomness"))?;
        let now = now_ms() / 1_000;
        let id = self.config.client_id.as_str();
        let (exp, jti) = (now + ASSERTION_SECONDS, to_hex(&random));
        let claims = Claims { iss: id, sub: id, aud: audience, exp, iat: now, jti };
        let header = Header { kid: Some(self.config.key_id.clone()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(|_| failed("a key that does not sign"))
    }
}

fn key(file: &Path) -> Result<(Algorithm, EncodingKey), FhirError> {
    let expected = "a private key in PEM (PKCS #8) of P-384, P-256 or RSA";
    let pem = std::fs::read(file).map_err(|e| file_fault(file, e.kind(), expected))?;
    let der = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| file_fault(file, e, expected))?;
    let head = der.secret_der();
    let head = &head[..head.len().min(KEY_HEAD_BYTES)];
    let is = |oid: &[u8]| head.windows(oid.len()).any(|window| window == oid);
    let (algorithm, key) = match &der {
        PrivateKeyDer::Pkcs8(_) if is(P384) => (Algorithm::ES384, EncodingKey::from_ec_pem(&pem)),
        PrivateKeyDer::Pkcs8(_) if is(P256) => (Algorithm::ES256, EncodingKey::from_ec_pem(&pem)),
        PrivateKeyDer::Pkcs8(_) if is(RSA) => (Algorithm::RS384, EncodingKey::from_rsa_pem(&pem)),
        PrivateKeyDer::Pkcs1(_) => (Algorithm::RS384, EncodingKey::from_rsa_pem(&pem)),
        _ => return Err(file_fault(file, "another kind of key", expected)),
    };
    Ok((algorithm, key.map_err(|_| file_fault(file, "a key that cannot be read", expected))?))
}
