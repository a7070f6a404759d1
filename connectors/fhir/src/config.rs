//! What connectors of the kinds `fhir` and `fhir-hook` are configured with. Secrets are paths of files.

use std::path::PathBuf;

use reqwest::Url;
use schemars::JsonSchema;
use schemas::limits;
use serde::Deserialize;

use crate::time;

/// `[[connector]]` with `kind = "fhir"`: a FHIR R4 server that is asked again and again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FhirConfig {
    /// Name in metrics, in the inbox and as source of ids: letters, digits, `-`.
    #[serde(default)]
    pub name: String,
    /// The server.
    pub server: ServerConfig,
    /// Resource types, each asked for by itself: `Patient`, `Observation`.
    pub types: Vec<String>,
    /// How it is asked.
    #[serde(default)]
    pub mode: Mode,
    /// Where it begins when it runs for the first time, as a FHIR instant; without it, with everything that there is.
    pub since: Option<String>,
    /// Between the end of one look and the next, in milliseconds.
    #[serde(default = "default_interval")]
    pub interval_ms: u64,
    /// Resources of one page (`_count`).
    #[serde(default = "default_count")]
    pub count: u32,
    /// How far each look reaches back behind what is known, in milliseconds: for servers whose clocks differ or whose index lags.
    #[serde(default = "default_overlap")]
    pub overlap_ms: u64,
    /// Largest page, in bytes.
    #[serde(default = "default_page_bytes")]
    pub page_bytes_max: usize,
    /// Resources taken and not yet accepted.
    #[serde(default = "default_unsettled")]
    pub unsettled_max: u16,
}

/// How a server is asked what is new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Search by `_lastUpdated`: the newest version of each resource.
    #[default]
    Search,
    /// `_history` of each type: every version.
    History,
}

/// A FHIR server and how to be known to it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Its base URL, `https://host/fhir`.
    pub base: String,
    /// Without TLS only a loopback address is asked, unless the network is said to be trusted.
    #[serde(default)]
    pub trusted_network: bool,
    /// PEM certificates that vouch for it, beside those that the system trusts.
    pub tls_roots: Option<PathBuf>,
    /// PEM certificate chain that is shown to it.
    pub tls_certificate: Option<PathBuf>,
    /// Its PEM key.
    pub tls_key: Option<PathBuf>,
    /// A file with a bearer token.
    pub token_file: Option<PathBuf>,
    /// SMART backend services: tokens that are asked for with a signed assertion.
    pub login: Option<LoginConfig>,
    /// Longest wait for a whole answer, in milliseconds.
    #[serde(default = "default_timeout")]
    pub timeout_ms: u64,
}

/// SMART backend services.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginConfig {
    /// The gateway's `client_id` there.
    pub client_id: String,
    /// PEM private key (PKCS #8): P-384 signs ES384, P-256 ES256, RSA RS384.
    pub key_file: PathBuf,
    /// Its `kid` in the key set that was registered.
    pub key_id: String,
    /// Token endpoint; without it that of `{base}/.well-known/smart-configuration`, if it is on the same host.
    pub token_url: Option<String>,
    /// What is asked for: `system/*.rs`.
    pub scopes: Vec<String>,
}

/// `[[connector]]` with `kind = "fhir-hook"`: takes notifications of subscriptions at `/hooks/NAME` of the gateway's listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookConfig {
    /// Name in metrics, in the inbox and as source of ids, and in the address: letters, digits, `-`.
    #[serde(default)]
    pub name: String,
    /// A file with the secret that the server sends as `Authorization: Bearer …`, at least 32 bytes.
    pub secret_file: PathBuf,
    /// Where resources are fetched that a notification only names.
    pub server: Option<ServerConfig>,
    /// Resources taken and not yet accepted.
    #[serde(default = "default_unsettled")]
    pub unsettled_max: u16,
}

const fn default_interval() -> u64 {
    limits::FHIR_INTERVAL_MS_DEFAULT
}
const fn default_count() -> u32 {
    limits::FHIR_COUNT_DEFAULT
}
const fn default_overlap() -> u64 {
    limits::FHIR_OVERLAP_MS_DEFAULT
}
const fn default_page_bytes() -> usize {
    limits::FHIR_PAGE_BYTES_DEFAULT
}
const fn default_unsettled() -> u16 {
    limits::PREFETCH_DEFAULT
}
const fn default_timeout() -> u64 {
    limits::FHIR_TIMEOUT_MS_DEFAULT
}

impl FhirConfig {
    /// Whether the values make sense together.
    ///
    /// # Errors
    /// What was found and expected.
    pub fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        self.server.check()?;
        let mut types = self.types.clone();
        types.sort();
        types.dedup();
        if types.len() != self.types.len() || !(1..=limits::FHIR_TYPES_MAX).contains(&types.len()) {
            return Err(format!("types: expected 1 to {} types, each once", limits::FHIR_TYPES_MAX));
        }
        if !types.iter().all(|kind| is_type(kind)) {
            return Err("types: expected names of resource types, such as `Patient`".into());
        }
        if self.since.as_deref().is_some_and(|since| time::instant_ms(since).is_none()) {
            return Err("since: expected an instant with a time zone, such as `2026-01-01T00:00:00Z`".into());
        }
        within("interval_ms", self.interval_ms, 10, limits::FHIR_INTERVAL_MS_MAX)?;
        within("count", self.count.into(), 1, limits::FHIR_COUNT_MAX.into())?;
        within("overlap_ms", self.overlap_ms, 0, limits::FHIR_OVERLAP_MS_MAX)?;
        within("page_bytes_max", self.page_bytes_max as u64, 1, limits::FHIR_PAGE_BYTES_MAX as u64)?;
        within("unsettled_max", self.unsettled_max.into(), 1, u16::MAX.into())
    }

    /// What is allowed and yet seldom meant.
    pub fn warnings(&self) -> Vec<&'static str> {
        let none = self.overlap_ms == 0;
        let overlap =
            none.then_some("without an overlap, resources that the server's index shows late are never taken");
        self.server.warnings().into_iter().chain(overlap).collect()
    }

    /// Every file that it names.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.server.files_mut()
    }
}

impl HookConfig {
    /// Whether the values make sense together.
    ///
    /// # Errors
    /// What was found and expected.
    pub fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        self.server.as_ref().map_or(Ok(()), ServerConfig::check)?;
        within("unsettled_max", self.unsettled_max.into(), 1, u16::MAX.into())
    }

    /// What is allowed and yet seldom meant.
    pub fn warnings(&self) -> Vec<&'static str> {
        self.server.as_ref().map(ServerConfig::warnings).unwrap_or_default()
    }

    /// Every file that it names.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        std::iter::once(&mut self.secret_file).chain(self.server.iter_mut().flat_map(ServerConfig::files_mut))
    }
}

impl ServerConfig {
    fn check(&self) -> Result<(), String> {
        self.check_url("base", &self.base)?;
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return Err("server: expected `tls_certificate` and `tls_key` together".into());
        }
        if self.token_file.is_some() && self.login.is_some() {
            return Err("server: expected `token_file` or `login`, not both".into());
        }
        if let Some(login) = &self.login {
            login.token_url.as_deref().map_or(Ok(()), |url| self.check_url("token_url", url))?;
            if login.client_id.is_empty() || login.key_id.is_empty() || login.scopes.is_empty() {
                return Err("login: expected `client_id`, `key_id` and at least one of `scopes`".into());
            }
        }
        within("timeout_ms", self.timeout_ms, 1, limits::FHIR_TIMEOUT_MS_MAX)
    }

    /// No part of the address is repeated: it may hold a password.
    fn check_url(&self, key: &str, text: &str) -> Result<(), String> {
        let url = Url::parse(text).map_err(|_| format!("{key}: found no URL, expected `https://host/…`"))?;
        if url.cannot_be_a_base() || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err(format!("{key}: expected `https://host/…` without user, query and fragment"));
        }
        if self.may_be_asked(&url) {
            return Ok(());
        }
        Err(format!(
            "{key}: found an address without TLS that is not loopback, expected https, or `trusted_network = true`"
        ))
    }

    /// Whether an address may be asked: TLS, this machine, or a network that is said to be trusted.
    pub(crate) fn may_be_asked(&self, url: &Url) -> bool {
        match url.scheme() {
            "https" => true,
            "http" => self.trusted_network || url.host_str().is_some_and(is_loopback),
            _ => false,
        }
    }

    /// Whether a token endpoint that the server names itself may be asked: on the host of the base and with TLS, or where the base itself
    /// is. What a server says is no configuration: it must not choose who else is sent requests.
    pub(crate) fn may_name(&self, url: &Url) -> bool {
        let Ok(base) = Url::parse(&self.base) else { return false };
        let is_plain = url.username().is_empty() && url.password().is_none();
        let same_host = url.host_str().is_some_and(|host| base.host_str() == Some(host));
        is_plain && same_host && self.may_be_asked(url) && (url.scheme() == "https" || url.origin() == base.origin())
    }

    fn warnings(&self) -> Vec<&'static str> {
        let plain = self.trusted_network && self.base.starts_with("http:");
        let unknown = self.token_file.is_none() && self.login.is_none() && self.tls_certificate.is_none();
        let all = [
            (plain, "without TLS everyone on the network reads every resource"),
            (unknown, "the server gives its resources to whoever asks: no token_file, login or tls_certificate"),
        ];
        all.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect()
    }

    fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let files = [&mut self.tls_roots, &mut self.tls_certificate, &mut self.tls_key, &mut self.token_file];
        files.into_iter().flatten().chain(self.login.as_mut().map(|login| &mut login.key_file))
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Shape of a resource type's name.
pub(crate) fn is_type(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn check_name(name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return Err("name: expected 1 to 64 letters, digits, `-`, `.` or `_`".into());
    }
    Ok(())
}

fn within(what: &str, value: u64, least: u64, most: u64) -> Result<(), String> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(format!("{what}: found {value}, expected {least} to {most}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(base: &str, trusted_network: bool) -> ServerConfig {
        ServerConfig {
            base: base.to_owned(),
            trusted_network,
            tls_roots: None,
            tls_certificate: None,
            tls_key: None,
            token_file: None,
            login: None,
            timeout_ms: 1,
        }
    }

    #[test]
    fn a_server_names_token_endpoints_of_its_own_only() {
        let table = [
            ("https://ehr.example/fhir", "https://ehr.example/token", true),
            ("https://ehr.example/fhir", "https://ehr.example:8443/token", true),
            ("https://ehr.example/fhir", "https://evil.example/token", false),
            ("https://ehr.example/fhir", "https://ehr.example.evil.example/token", false),
            ("https://ehr.example/fhir", "https://ehr.example@evil.example/token", false),
            ("https://ehr.example/fhir", "https://user:word@ehr.example/token", false),
            ("https://ehr.example/fhir", "http://ehr.example/token", false),
            ("https://ehr.example/fhir", "http://127.0.0.1:16999/internal/admin", false),
            ("https://ehr.example/fhir", "http://[::1]/", false),
            ("https://ehr.example/fhir", "https://127.0.0.1/", false),
            ("https://ehr.example/fhir", "file:///etc/passwd", false),
            ("http://127.0.0.1:8080/fhir", "http://127.0.0.1:8080/token", true),
            ("http://127.0.0.1:8080/fhir", "http://127.0.0.1:9090/token", false),
            ("http://127.0.0.1:8080/fhir", "http://localhost:8080/token", false),
        ];
        for (base, named, may) in table {
            let url = Url::parse(named).expect("a URL");
            assert_eq!(server(base, false).may_name(&url), may, "{named} by {base}");
        }
        let trusted = server("http://ehr.internal:8080/fhir", true);
        for (named, may) in [("http://ehr.internal:8080/token", true), ("http://other.internal:8080/token", false)] {
            assert_eq!(trusted.may_name(&Url::parse(named).expect("a URL")), may, "{named}");
        }
    }
}
