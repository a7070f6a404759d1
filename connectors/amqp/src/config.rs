//! What a connector of kind `amqp` is configured with. Limits and dead-lettering of its queue are the broker's policies
//! (`compose/`), never queue arguments: a changed argument would refuse the queue, a changed policy just applies.

use std::path::PathBuf;

use connectors_source::Hl7Defaults;
use schemars::JsonSchema;
use schemas::limits;
use serde::Deserialize;

use crate::access::{Access, Auth, access, is_loopback};
use crate::connection::ConnectError;

/// `[[connector]]` with `kind = "amqp"`.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AmqpConfig {
    /// Name in metrics, in the inbox and as source of FHIR ids: letters, digits, `-`.
    pub name: String,
    /// `amqp://user:password@host:port/vhost` or `amqps://…`, or those of several brokers of a cluster with blanks between them, the
    /// preferred first; exactly one of `url` and `url_file`.
    pub url: Option<String>,
    /// A file that holds the URL or URLs, when they hold a password.
    pub url_file: Option<PathBuf>,
    /// Certificates (PEM) that vouch for the broker's, alone; without it those of the system do. For `amqps://`.
    pub tls_roots: Option<PathBuf>,
    /// Client certificate chain (PEM).
    pub tls_certificate: Option<PathBuf>,
    /// Its key (PEM), which only its owner can read.
    pub tls_key: Option<PathBuf>,
    /// How to log in.
    #[serde(default)]
    pub auth: Auth,
    /// Topic exchange, declared durable.
    #[serde(default = "default_exchange")]
    pub exchange: String,
    /// Quorum queue, declared durable; default `chartseal.{name}`.
    pub queue: Option<String>,
    /// Routing keys that are bound to the queue.
    #[serde(default = "default_bindings")]
    pub bindings: Vec<String>,
    /// Most deliveries unsettled at once, of each lane. A queue is begun with one; when its message was in hand of processes that died
    /// (`x-delivery-count` of 3 or more) it is read one message at a time, until 16 in a row were of another kind.
    #[serde(default = "default_prefetch")]
    pub prefetch: u16,
    /// With 2 to 16: so many queues `{queue}.1`, `{queue}.2`, … that are read side by side, each by one gateway at a time and in order,
    /// behind the exchange `{queue}.lanes`, which sorts by the header `chartseal-lane`; messages without it share one lane. For the
    /// broker's plugin `rabbitmq_consistent_hash_exchange`. Changed only when the queues are empty.
    #[serde(default = "default_lanes")]
    pub lanes: u16,
    /// Content type of messages that state none.
    #[serde(default)]
    pub content_type: String,
    /// What its HL7 v2 messages leave unsaid.
    #[serde(default)]
    pub hl7v2: Hl7Defaults,
    /// Address of the broker's management API, `https://host:15671`, for `chartseal doctor` alone: policies can be read nowhere else.
    pub management_url: Option<String>,
    /// A file with `user:password` for it; without it the user of the broker's address.
    pub management_file: Option<PathBuf>,
}

impl Default for AmqpConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: None,
            url_file: None,
            tls_roots: None,
            tls_certificate: None,
            tls_key: None,
            auth: Auth::default(),
            exchange: default_exchange(),
            queue: None,
            bindings: default_bindings(),
            prefetch: default_prefetch(),
            lanes: default_lanes(),
            content_type: String::new(),
            hl7v2: Hl7Defaults::default(),
            management_url: None,
            management_file: None,
        }
    }
}

/// Without the address, which may hold a password.
impl std::fmt::Debug for AmqpConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AmqpConfig({}, {}, {})", self.name, self.exchange, self.queue_name())
    }
}

/// Where a bridge publishes.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublisherConfig {
    /// `amqp://user:password@host:port/vhost` or `amqps://…`, several as in a connector; exactly one of `url` and `url_file`.
    pub url: Option<String>,
    /// A file that holds the URL, when it holds a password.
    pub url_file: Option<PathBuf>,
    /// Certificates (PEM) that vouch for the broker's, alone; without it those of the system do. For `amqps://`.
    pub tls_roots: Option<PathBuf>,
    /// Client certificate chain (PEM).
    pub tls_certificate: Option<PathBuf>,
    /// Its key (PEM), which only its owner can read.
    pub tls_key: Option<PathBuf>,
    /// How to log in.
    #[serde(default)]
    pub auth: Auth,
    /// Topic exchange, which must be there.
    #[serde(default = "default_exchange")]
    pub exchange: String,
    /// Routing key of every message: about the sender, never about a patient.
    pub routing_key: String,
}

/// Without the address, which may hold a password.
impl std::fmt::Debug for PublisherConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublisherConfig({}, {})", self.exchange, self.routing_key)
    }
}

impl PublisherConfig {
    /// Whether the values make sense together.
    ///
    /// # Errors
    /// What was expected, without the address.
    pub fn check(&self) -> Result<(), String> {
        access!(self).check().map_err(|message| format!("amqp: {message}"))?;
        let named = [&self.exchange, &self.routing_key].iter().all(|name| (1..=255).contains(&name.len()));
        if named { Ok(()) } else { Err("amqp: expected an exchange and a routing key of at most 255 bytes".into()) }
    }

    /// What is allowed and yet seldom meant.
    pub fn warnings(&self) -> Vec<&'static str> {
        access!(self).warnings()
    }

    /// Every file that it names.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let tls = [&mut self.tls_roots, &mut self.tls_certificate, &mut self.tls_key];
        tls.into_iter().chain([&mut self.url_file]).flatten()
    }

    /// As that of a connector.
    ///
    /// # Errors
    /// `ConnectError`.
    pub fn rehearse(&self) -> Result<(), ConnectError> {
        access!(self).rehearse()
    }

    pub(crate) fn access(&self) -> Access<'_> {
        access!(self)
    }
}

fn default_exchange() -> String {
    "hospital.events".into()
}
fn default_bindings() -> Vec<String> {
    vec!["#".into()]
}
const fn default_prefetch() -> u16 {
    limits::PREFETCH_DEFAULT
}
const fn default_lanes() -> u16 {
    1
}

impl AmqpConfig {
    /// Reads the address and makes TLS of the files that it names, as a connection will.
    ///
    /// # Errors
    /// `ConnectError`.
    pub fn rehearse(&self) -> Result<(), ConnectError> {
        access!(self).rehearse()
    }

    /// The queue's name.
    pub fn queue_name(&self) -> String {
        self.queue.clone().unwrap_or_else(|| format!("chartseal.{}", self.name))
    }

    /// Whether the values make sense together.
    ///
    /// # Errors
    /// What was expected, without the address.
    pub fn check(&self) -> Result<(), String> {
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_');
        if self.name.is_empty() || self.name.len() > 64 || !plain(&self.name) {
            return Err("name: expected 1 to 64 letters, digits, `-`, `.` or `_`".into());
        }
        access!(self).check()?;
        if self.prefetch == 0 {
            return Err("prefetch: found 0, expected at least 1".into());
        }
        if !(1..=limits::LANES_MAX).contains(&self.lanes) {
            return Err(format!("lanes: found {}, expected 1 to {}", self.lanes, limits::LANES_MAX));
        }
        let safe = |url: &str| url.starts_with("https://") || (url.starts_with("http://") && is_loopback(url));
        if self.management_url.as_deref().is_some_and(|url| !safe(url)) {
            return Err("management_url: expected https://host:port, or http:// on loopback".into());
        }
        if self.management_file.is_some() && self.management_url.is_none() {
            return Err("management_file: expected `management_url` beside it".into());
        }
        if self.bindings.is_empty() || self.exchange.is_empty() {
            return Err("bindings: expected an exchange and at least one binding".into());
        }
        // with the end of a lane's name
        let queue = format!("{}.lanes", self.queue_name());
        let names = [&self.exchange, &queue].into_iter().chain(&self.bindings).any(|n| n.len() > 255);
        if names {
            Err("queue: expected names of at most 255 bytes, the exchange's and bindings' too".into())
        } else {
            Ok(())
        }
    }

    /// What is allowed and yet seldom meant.
    pub fn warnings(&self) -> Vec<&'static str> {
        access!(self).warnings()
    }

    /// Every file that it names.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let tls = [&mut self.tls_roots, &mut self.tls_certificate, &mut self.tls_key];
        tls.into_iter().chain([&mut self.url_file, &mut self.management_file]).flatten()
    }
}
