//! What a connector of kind `amqp` is configured with. Limits and dead-lettering of its queue are the broker's policies
//! (`compose/`), never queue arguments: a changed argument would refuse the queue, a changed policy just applies.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use schemas::limits;
use serde::Deserialize;

/// `[[connector]]` with `kind = "amqp"`.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AmqpConfig {
    /// Name in metrics, in the inbox and as source of FHIR ids: letters, digits, `-`.
    pub name: String,
    /// `amqp://user:password@host:port/vhost`, or those of several brokers of a cluster with blanks between them, the preferred first;
    /// exactly one of `url` and `url_file`.
    pub url: Option<String>,
    /// A file that holds the URL or URLs, when they hold a password.
    pub url_file: Option<PathBuf>,
    /// Topic exchange, declared durable.
    #[serde(default = "default_exchange")]
    pub exchange: String,
    /// Quorum queue, declared durable; default `chartseal.{name}`.
    pub queue: Option<String>,
    /// Routing keys that are bound to the queue.
    #[serde(default = "default_bindings")]
    pub bindings: Vec<String>,
    /// Most deliveries unsettled at once.
    #[serde(default = "default_prefetch")]
    pub prefetch: u16,
    /// Content type of messages that state none.
    #[serde(default)]
    pub content_type: String,
}

/// Without the address, which may hold a password.
impl std::fmt::Debug for AmqpConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AmqpConfig({}, {}, {})", self.name, self.exchange, self.queue_name())
    }
}

/// Where a bridge publishes.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublisherConfig {
    /// `amqp://user:password@host:port/vhost`; exactly one of `url` and `url_file`.
    pub url: Option<String>,
    /// A file that holds the URL, when it holds a password.
    pub url_file: Option<PathBuf>,
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
        if self.url.is_some() == self.url_file.is_some() {
            return Err("amqp: expected exactly one of `url` and `url_file`".into());
        }
        if self.url.as_ref().is_some_and(|url| !url.starts_with("amqp://")) {
            return Err("amqp.url: found another scheme, expected amqp://host:port/vhost".into());
        }
        let named = [&self.exchange, &self.routing_key].iter().all(|name| (1..=255).contains(&name.len()));
        if named { Ok(()) } else { Err("amqp: expected an exchange and a routing key of at most 255 bytes".into()) }
    }

    /// The address, from the file when it is in one.
    pub fn address(&self) -> Option<String> {
        address(self.url.as_deref(), self.url_file.as_deref())
    }
}

/// The address, from the file when it is in one.
fn address(url: Option<&str>, file: Option<&Path>) -> Option<String> {
    match (url, file) {
        (Some(url), _) => Some(url.to_owned()),
        (None, Some(file)) => std::fs::read_to_string(file).ok().map(|text| text.trim().to_owned()),
        (None, None) => None,
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

impl AmqpConfig {
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
        if self.url.is_some() == self.url_file.is_some() {
            return Err("expected exactly one of `url` and `url_file`".into());
        }
        let known = |url: &String| url.split_ascii_whitespace().all(|one| one.starts_with("amqp://"));
        if self.url.as_ref().is_some_and(|url| url.trim().is_empty() || !known(url)) {
            return Err("url: found another scheme, expected amqp://host:port/vhost".into());
        }
        if self.prefetch == 0 {
            return Err("prefetch: found 0, expected at least 1".into());
        }
        if self.bindings.is_empty() || self.exchange.is_empty() {
            return Err("expected an exchange and at least one binding".into());
        }
        let names = [&self.exchange, &self.queue_name()].into_iter().chain(&self.bindings).any(|n| n.len() > 255);
        if names { Err("expected names of at most 255 bytes".into()) } else { Ok(()) }
    }

    /// What is allowed and yet seldom meant.
    pub fn warnings(&self) -> Vec<&'static str> {
        let password = self
            .url
            .as_ref()
            .is_some_and(|url| url.rsplit_once('@').is_some_and(|(user, _)| user.matches(':').count() > 1));
        if password {
            vec!["url holds a password; url_file or ${file:…} keeps it out of this file"]
        } else {
            Vec::new()
        }
    }

    /// The address for an attempt, from the file when it is in one: the brokers of a cluster in turn.
    pub(crate) fn address(&self, attempt: usize) -> Option<String> {
        let all = address(self.url.as_deref(), self.url_file.as_deref())?;
        let all: Vec<&str> = all.split_ascii_whitespace().collect();
        all.get(attempt.checked_rem(all.len())?).map(|one| (*one).to_owned())
    }
}
