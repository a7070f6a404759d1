//! One FHIR server as it is asked: one client with its roots, certificate, token or login, a bound on every answer and wait. It must never
//! go to another origin than the base's (but to the token endpoint), nor repeat anything of an address.

use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder, Response, StatusCode, Url, header, redirect};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use schemas::limits;

use crate::config::ServerConfig;
use crate::error::FhirError;
use crate::login::Login;
use crate::time;

/// Longest wait for a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Wait for a server that is busy and does not say for how long, in milliseconds.
const BUSY_MS: u64 = 5_000;
/// Redirects of one request, all on the base's origin.
const REDIRECTS_MAX: usize = 5;
/// Longest bearer token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Media type of everything that is asked for.
pub(crate) const FHIR_JSON: &str = "application/fhir+json";

/// A FHIR server.
pub struct Server {
    config: ServerConfig,
    base: Url,
    http: Client,
    token: Option<String>,
    login: Option<Login>,
}

/// What is asked.
pub(crate) struct Ask<'a> {
    pub method: Method,
    pub url: &'a Url,
    pub headers: &'a [(&'a str, &'a str)],
    /// Longest wait for a whole answer, where it is another than configured.
    pub wait: Option<Duration>,
    pub doing: &'static str,
}

/// What came, and when the server says that it was.
pub(crate) struct Fetched {
    pub bytes: Bytes,
    pub date: Option<i64>,
}

impl Server {
    /// Reads the files that the configuration names; asks nobody.
    ///
    /// # Errors
    /// `FhirError::File`.
    pub fn new(config: &ServerConfig) -> Result<Self, FhirError> {
        let expected = "a base URL";
        let with_slash = format!("{}/", config.base.trim_end_matches('/'));
        let shape = |_| FhirError::Shape { found: "something else", expected };
        let base = Url::parse(&with_slash).map_err(shape)?;
        let token = config.token_file.as_deref().map(|file| secret(file, 1)).transpose()?;
        let login = config.login.clone().map(Login::new).transpose()?;
        Ok(Self { http: client(config)?, config: config.clone(), base, token, login })
    }

    /// An address below the base.
    pub(crate) fn below(&self, path: &str) -> Result<Url, FhirError> {
        let url = self.base.join(path).map_err(|_| FhirError::Shape { found: "no path", expected: "one" })?;
        let inside = self.same_origin(&url) && url.path().starts_with(self.base.path());
        if inside { Ok(url) } else { Err(FhirError::Origin("a reference")) }
    }

    /// A link that stood in an answer from `at`.
    pub(crate) fn link(&self, at: &Url, link: &str, what: &'static str) -> Result<Url, FhirError> {
        let url = at.join(link).map_err(|_| FhirError::Shape { found: "a link that is no URL", expected: "one" })?;
        if self.same_origin(&url) { Ok(url) } else { Err(FhirError::Origin(what)) }
    }

    fn same_origin(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// A whole answer of at most so many bytes.
    pub(crate) async fn get(&self, url: &Url, most: usize, doing: &'static str) -> Result<Fetched, FhirError> {
        let headers = &[(header::ACCEPT.as_str(), FHIR_JSON)];
        let response = self.send(&Ask { method: Method::GET, url, headers, wait: None, doing }).await?;
        let date = header_text(&response, header::DATE.as_str()).and_then(time::http_date_ms);
        Ok(Fetched { bytes: read(response, most, doing).await?, date })
    }

    /// An answer that is a success, its body not read yet. A token that was not taken is asked for again, once.
    pub(crate) async fn send(&self, ask: &Ask<'_>) -> Result<Response, FhirError> {
        let first = self.authorization(None).await?;
        let sent = answer(self.request(ask, first.as_deref()), ask.doing).await;
        match (sent, &first, &self.login) {
            (Err(FhirError::Status { status: 401, .. }), Some(refused), Some(_)) => {
                let second = self.authorization(Some(refused)).await?;
                answer(self.request(ask, second.as_deref()), ask.doing).await
            }
            (sent, ..) => sent,
        }
    }

    fn request(&self, ask: &Ask<'_>, token: Option<&str>) -> RequestBuilder {
        let mut request = self.http.request(ask.method.clone(), ask.url.clone());
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        if let Some(wait) = ask.wait {
            request = request.timeout(wait);
        }
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Longest wait for an answer, or for more of one.
    pub(crate) const fn patience(&self) -> Duration {
        Duration::from_millis(self.config.timeout_ms)
    }

    async fn authorization(&self, refused: Option<&str>) -> Result<Option<String>, FhirError> {
        match &self.login {
            Some(login) => login.token(&self.http, &self.config, refused).await.map(Some),
            None => Ok(self.token.clone()),
        }
    }

    /// Whether it gives resources of these types to us, or, where none is named, whether it is there and a login succeeds.
    ///
    /// # Errors
    /// `FhirError`.
    pub async fn reach(&self, types: &[String]) -> Result<(), FhirError> {
        for kind in types {
            let mut url = self.below(kind)?;
            url.query_pairs_mut().append_pair("_count", "1");
            self.get(&url, limits::MESSAGE_BYTES_MAX, "asking for a type").await?;
        }
        self.authorization(None).await?;
        self.probe().await
    }

    /// Whether it is there at all: any answer but a failure of its own.
    pub(crate) async fn probe(&self) -> Result<(), FhirError> {
        let doing = "being looked for";
        let url = self.below("metadata")?;
        let sent = answer(self.http.head(url).timeout(CONNECT_WAIT / 2), doing).await;
        match sent {
            Err(FhirError::Status { status, .. }) if status < 500 => Ok(()),
            Err(FhirError::Busy { .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn client(config: &ServerConfig) -> Result<Client, FhirError> {
    let mut builder = Client::builder()
        .connect_timeout(CONNECT_WAIT)
        .timeout(Duration::from_millis(config.timeout_ms))
        .redirect(redirect::Policy::custom(|attempt| {
            let first = attempt.previous().first().map(Url::origin);
            if first.is_some_and(|origin| origin == attempt.url().origin()) && attempt.previous().len() <= REDIRECTS_MAX
            {
                return attempt.follow();
            }
            // the answer is then the redirect itself, which is no success
            attempt.stop()
        }));
    if let Some(file) = &config.tls_roots {
        let expected = "certificates that vouch for the server, in PEM";
        let pem = std::fs::read(file).map_err(|e| file_fault(file, e.kind(), expected))?;
        let roots = Certificate::from_pem_bundle(&pem).map_err(|_| file_fault(file, "none", expected))?;
        if roots.is_empty() {
            return Err(file_fault(file, "none", expected));
        }
        builder = builder.tls_certs_merge(roots);
    }
    if let Some((chain, key)) = config.tls_certificate.as_deref().zip(config.tls_key.as_deref()) {
        builder = builder.identity(identity(chain, key)?);
    }
    let fault = |_| FhirError::Shape { found: "no TLS", expected: "certificates and keys that fit each other" };
    builder.build().map_err(fault)
}

fn identity(chain: &Path, key: &Path) -> Result<Identity, FhirError> {
    let (of_chain, of_key) = ("a certificate chain in PEM", "a private key in PEM");
    let mut pem = std::fs::read(chain).map_err(|e| file_fault(chain, e.kind(), of_chain))?;
    CertificateDer::from_pem_slice(&pem).map_err(|e| file_fault(chain, e, of_chain))?;
    let secret = std::fs::read(key).map_err(|e| file_fault(key, e.kind(), of_key))?;
    PrivateKeyDer::from_pem_slice(&secret).map_err(|e| file_fault(key, e, of_key))?;
    pem.push(b'\n');
    pem.extend(secret);
    Identity::from_pem(&pem).map_err(|_| file_fault(key, "another one", "the key of the certificate"))
}

pub(crate) fn file_fault(file: &Path, found: impl ToString, expected: &'static str) -> FhirError {
    FhirError::File { file: file.to_owned(), found: found.to_string(), expected }
}

/// The one line of a file.
pub(crate) fn secret(file: &Path, least: usize) -> Result<String, FhirError> {
    let expected = if least > 1 { "one line of at least 32 bytes" } else { "one line" };
    let text = std::fs::read_to_string(file).map_err(|e| file_fault(file, e.kind(), expected))?;
    let line = text.trim();
    if !(least..=TOKEN_BYTES_MAX).contains(&line.len()) || !line.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(file_fault(file, "something else", expected));
    }
    Ok(line.to_owned())
}

/// Sends; an answer that is no success is an error.
pub(crate) async fn answer(request: RequestBuilder, doing: &'static str) -> Result<Response, FhirError> {
    let response = request.send().await.map_err(|_| FhirError::Away { doing })?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let wait = retry_after_ms(&response);
    match status {
        // RFC 6585: with Retry-After or without
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Err(FhirError::Busy { after_ms: wait.unwrap_or(BUSY_MS) })
        }
        StatusCode::SERVICE_UNAVAILABLE if wait.is_some() => Err(FhirError::Busy { after_ms: wait.unwrap_or(BUSY_MS) }),
        _ if status.is_redirection() => Err(FhirError::Origin("a redirect")),
        _ => Err(FhirError::Status { status: status.as_u16(), doing }),
    }
}

/// `Retry-After` in seconds or as a date, within bounds.
pub(crate) fn retry_after_ms(response: &Response) -> Option<u64> {
    let text = header_text(response, header::RETRY_AFTER.as_str())?.trim();
    let ms = match text.parse::<u64>() {
        Ok(seconds) => seconds.saturating_mul(1_000),
        Err(_) => time::http_date_ms(text)?.unsigned_abs().saturating_sub(time::now_ms()),
    };
    Some(ms.min(limits::FHIR_RETRY_AFTER_MS_MAX))
}

pub(crate) fn header_text<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// A whole body of at most so many bytes.
pub(crate) async fn read(mut response: Response, most: usize, doing: &'static str) -> Result<Bytes, FhirError> {
    let stated = response.content_length().and_then(|length| usize::try_from(length).ok());
    if stated.is_some_and(|length| length > most) {
        return Err(FhirError::TooLarge { doing, most });
    }
    let mut body = BytesMut::with_capacity(stated.unwrap_or(0));
    while let Some(chunk) = response.chunk().await.map_err(|_| FhirError::Away { doing })? {
        if body.len() + chunk.len() > most {
            return Err(FhirError::TooLarge { doing, most });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
