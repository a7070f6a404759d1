//! A SMART backend-services client: key, signed assertion, token, FHIR requests. Demo, bench and `consent` ask the gateway through
//! it as any outside system would. It must never print its key or a token.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header};

use crate::failure::{Exit, Failure};
use crate::home;

/// Life of an assertion, in seconds.
const ASSERTION_SECONDS: u64 = 120;
/// A token is renewed this long before it ends, in seconds.
const RENEW_SECONDS: u64 = 30;

/// Makes an ES384 key: the PEM file at `path` (mode 0600), and the public key set as JSON text.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn create_key(path: &Path, kid: &str) -> Result<String, Failure> {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).context("making a P-384 key")?;
    home::write_secret(path, pair.serialize_pem().as_bytes())?;
    let point = pair.public_key_raw();
    let (x, y) = point.get(1..).map(|xy| xy.split_at(xy.len() / 2)).ok_or_else(|| anyhow!("the key has no point"))?;
    let key = serde_json::json!({
        "kty": "EC", "crv": "P-384", "use": "sig", "alg": "ES384", "kid": kid,
        "x": BASE64.encode(x), "y": BASE64.encode(y),
    });
    Ok(serde_json::json!({ "keys": [key] }).to_string())
}

/// An answer of a FHIR server.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What an OperationOutcome says, for messages to the operator.
    pub fn reason(&self) -> String {
        let json = self.json();
        let text = ["/issue/0/diagnostics", "/issue/0/details/text", "/error_description", "/error"];
        text.iter().find_map(|p| json.pointer(p)?.as_str()).unwrap_or("no reason given").to_owned()
    }
}

/// One registered client of one gateway.
pub struct Client {
    http: reqwest::Client,
    base: String,
    id: String,
    kid: String,
    key: EncodingKey,
    scopes: String,
    token: Mutex<Option<(String, Instant)>>,
}

impl Client {
    /// A client whose key is the PEM file at `key`; `base` is the gateway's address without a slash at the end.
    ///
    /// # Errors
    /// When the key cannot be read.
    pub fn new(base: &str, id: &str, kid: &str, key: &Path, scopes: &str) -> Result<Self, Failure> {
        let pem = crate::failure::read(key)?;
        let key = EncodingKey::from_ec_pem(&pem).with_context(|| format!("{}", key.display()))?;
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(64)
            .build()
            .context("the HTTP client")?;
        let (base, id, kid, scopes) = (base.to_owned(), id.to_owned(), kid.to_owned(), scopes.to_owned());
        Ok(Self { http, base, id, kid, key, scopes, token: Mutex::new(None) })
    }

    /// A token that lives for a while yet.
    ///
    /// # Errors
    /// When the gateway refuses or cannot be reached.
    pub async fn token(&self) -> Result<String, Failure> {
        if let Ok(held) = self.token.lock()
            && let Some((token, until)) = held.as_ref()
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let url = format!("{}/oauth/token", self.base);
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", &self.scopes),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &self.assertion(&url)?),
        ];
        let body = form.map(|(name, value)| format!("{name}={}", encode(value))).join("&");
        let request = self.http.post(&url).header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer = read(request).await?;
        let json = answer.json();
        let Some(token) = json["access_token"].as_str() else {
            let found = format!("{url}: found status {} ({}), expected a token", answer.status, answer.reason());
            return Err(Failure::new(Exit::Failed, found));
        };
        let seconds = json["expires_in"].as_u64().unwrap_or(0).saturating_sub(RENEW_SECONDS);
        if let Ok(mut held) = self.token.lock() {
            *held = Some((token.to_owned(), Instant::now() + Duration::from_secs(seconds)));
        }
        Ok(token.to_owned())
    }

    /// GET under `/fhir/`.
    ///
    /// # Errors
    /// When the gateway cannot be reached; every status is an answer.
    pub async fn get(&self, path: &str) -> Result<Answer, Failure> {
        read(self.http.get(self.url(path)).bearer_auth(self.token().await?)).await
    }

    /// POST or PUT of a resource under `/fhir/`.
    ///
    /// # Errors
    /// When the gateway cannot be reached; every status is an answer.
    pub async fn send(
        &self,
        method: reqwest::Method,
        path: &str,
        resource: &serde_json::Value,
    ) -> Result<Answer, Failure> {
        let request = self.http.request(method, self.url(path)).bearer_auth(self.token().await?);
        read(request.header("content-type", "application/fhir+json").body(resource.to_string())).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}/fhir/{path}", self.base)
    }

    fn assertion(&self, audience: &str) -> Result<String, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut header = Header::new(Algorithm::ES384);
        header.kid = Some(self.kid.clone());
        let claims = serde_json::json!({
            "iss": self.id, "sub": self.id, "aud": audience, "iat": now, "exp": now + ASSERTION_SECONDS,
            "jti": hex::encode(home::random::<16>()?),
        });
        Ok(jsonwebtoken::encode(&header, &claims, &self.key).context("signing the assertion")?)
    }
}

/// Sends and reads an answer whole.
///
/// # Errors
/// When the gateway cannot be reached; every status is an answer.
pub async fn read(request: reqwest::RequestBuilder) -> Result<Answer, Failure> {
    let away = |e: reqwest::Error| Failure::unavailable(format_args!("the gateway cannot be reached: {e}"));
    let response = request.send().await.map_err(away)?;
    let status = response.status().as_u16();
    Ok(Answer { status, body: response.bytes().await.map_err(away)?.to_vec() })
}

/// `application/x-www-form-urlencoded`, and good for query values too.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
