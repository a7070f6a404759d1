//! What a connector of kind `mllp` is configured with, and a sender. Secrets are paths of files.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use connectors_source::Hl7Defaults;
use schemars::JsonSchema;
use schemas::limits;
use serde::Deserialize;

/// `[[connector]]` with `kind = "mllp"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MllpConfig {
    /// Name in metrics, in the inbox and as source of ids: letters, digits, `-`.
    #[serde(default)]
    pub name: String,
    /// Where it listens, `host:port`.
    pub listen: SocketAddr,
    /// PEM certificate chain; with it the listener speaks TLS.
    pub tls_certificate: Option<PathBuf>,
    /// PEM key.
    pub tls_key: Option<PathBuf>,
    /// PEM certificates of those whose clients' certificates are accepted: with it every sender needs one.
    pub tls_clients: Option<PathBuf>,
    /// Without TLS the listener takes a loopback address only, unless the network is said to be trusted.
    #[serde(default)]
    pub trusted_network: bool,
    /// Connections at once. When there are as many, a silent one of the address that has most gives way to another address.
    #[serde(default = "default_connections")]
    pub connections_max: usize,
    /// Messages taken and not yet acknowledged, of all connections.
    #[serde(default = "default_unsettled")]
    pub unsettled_max: u16,
    /// Largest message, in bytes.
    #[serde(default = "default_bytes")]
    pub message_bytes_max: usize,
    /// A connection on which nothing moves is closed after this, in milliseconds.
    #[serde(default = "default_idle")]
    pub idle_ms: u64,
    /// Content type of its messages.
    #[serde(default = "default_content_type")]
    pub content_type: String,
    /// What its messages leave unsaid.
    #[serde(default)]
    pub hl7v2: Hl7Defaults,
    /// Where application acknowledgements are sent to, when a message's cases are anchored or it was refused, as its MSH-16 asks. Without
    /// it there are none.
    pub application_ack: Option<ApplicationAckConfig>,
}

/// `[application_ack]`: the listener of the hospital's system that takes them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplicationAckConfig {
    /// `host:port`.
    pub address: String,
    /// PEM certificates that vouch for it: with them the connection is TLS.
    pub tls_roots: Option<PathBuf>,
    /// PEM certificate chain that is shown to it.
    pub tls_certificate: Option<PathBuf>,
    /// Its PEM key.
    pub tls_key: Option<PathBuf>,
    /// Longest wait for a connection and for an answer, in milliseconds.
    #[serde(default = "default_timeout")]
    pub timeout_ms: u64,
}

/// A sender.
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// `host:port`.
    pub address: String,
    /// PEM certificates that vouch for the receiver: with them the sender speaks TLS.
    pub tls_roots: Option<PathBuf>,
    /// Its own PEM certificate chain and key.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
    /// Longest wait for a connection and for an acknowledgement, in milliseconds.
    pub timeout_ms: u64,
}

const fn default_connections() -> usize {
    limits::MLLP_CONNECTIONS_DEFAULT
}
const fn default_unsettled() -> u16 {
    limits::PREFETCH_DEFAULT
}
const fn default_bytes() -> usize {
    limits::MESSAGE_BYTES_DEFAULT
}
const fn default_idle() -> u64 {
    limits::MLLP_IDLE_MS_DEFAULT
}
const fn default_timeout() -> u64 {
    limits::MLLP_TIMEOUT_MS_DEFAULT
}
fn default_content_type() -> String {
    "x-application/hl7-v2+er7".into()
}

impl ApplicationAckConfig {
    /// How they are sent.
    pub fn sender(&self) -> SenderConfig {
        SenderConfig {
            address: self.address.clone(),
            tls_roots: self.tls_roots.clone(),
            tls_identity: self.tls_certificate.clone().zip(self.tls_key.clone()),
            timeout_ms: self.timeout_ms,
        }
    }

    fn check(&self, trusted_network: bool) -> Result<(), String> {
        let host = self.address.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        let Some((host, _)) = host else {
            return Err("address: expected `host:port` in application_ack".into());
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_near = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if self.tls_roots.is_none() && !is_near && !trusted_network {
            return Err("address: found another machine's and no TLS in application_ack; expected `tls_roots`, or \
                        `trusted_network = true`"
                .into());
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return Err("tls_certificate: expected it and `tls_key` together in application_ack".into());
        }
        if self.tls_certificate.is_some() && self.tls_roots.is_none() {
            return Err(
                "tls_certificate: found no `tls_roots` in application_ack, expected them: it is shown in TLS only"
                    .into(),
            );
        }
        if !(1..=limits::MLLP_TIMEOUT_MS_MAX).contains(&self.timeout_ms) {
            let most = limits::MLLP_TIMEOUT_MS_MAX;
            return Err(format!("timeout_ms: found {} in application_ack, expected 1 to {most}", self.timeout_ms));
        }
        Ok(())
    }
}

impl MllpConfig {
    /// Every file that it names.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let files = [&mut self.tls_certificate, &mut self.tls_key, &mut self.tls_clients];
        let ack = self.application_ack.iter_mut();
        let acks = ack.flat_map(|ack| [&mut ack.tls_roots, &mut ack.tls_certificate, &mut ack.tls_key]);
        files.into_iter().chain(acks).flatten()
    }

    /// Whether the values make sense together.
    ///
    /// # Errors
    /// What was found and expected.
    pub fn check(&self) -> Result<(), String> {
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if self.name.is_empty() || self.name.len() > 64 || !plain(&self.name) {
            return Err("name: expected 1 to 64 letters, digits, `-`, `.` or `_`".into());
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return Err("tls_certificate: expected it and `tls_key` together".into());
        }
        if self.tls_clients.is_some() && self.tls_certificate.is_none() {
            return Err(
                "tls_clients: found no `tls_certificate`, expected one: without TLS there are no clients' certificates"
                    .into(),
            );
        }
        if self.tls_certificate.is_none() && !self.listen.ip().is_loopback() && !self.trusted_network {
            return Err(
                "listen: found an address that others reach and no TLS; expected `tls_certificate` and `tls_key`, \
                        or `trusted_network = true`"
                    .into(),
            );
        }
        if let Some(ack) = &self.application_ack {
            ack.check(self.trusted_network)?;
        }
        let within = |what: &str, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                Err(format!("{what}: found {value}, expected 1 to {most}"))
            }
        };
        within("connections_max", self.connections_max, limits::MLLP_CONNECTIONS_MAX)?;
        within("unsettled_max", self.unsettled_max.into(), u16::MAX.into())?;
        within("message_bytes_max", self.message_bytes_max, limits::MESSAGE_BYTES_MAX)?;
        within("idle_ms", usize::try_from(self.idle_ms).unwrap_or(usize::MAX), limits::MLLP_IDLE_MS_MAX)
    }

    /// What is allowed and yet seldom meant.
    pub fn warnings(&self) -> Vec<&'static str> {
        let plain = self.tls_certificate.is_none() && !self.listen.ip().is_loopback();
        let anyone = self.tls_certificate.is_some() && self.tls_clients.is_none();
        let all = [
            (plain, "without TLS everyone on the network reads every message"),
            (anyone, "without tls_clients everyone who reaches the port may send"),
        ];
        all.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect()
    }
}
