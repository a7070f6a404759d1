//! `[notify]`: where the gateway tells the hospital's systems what became of their messages.

use std::path::PathBuf;

use connectors_amqp::{Auth, PublisherConfig};
use serde::Deserialize;

/// The section; nothing is told without it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifyConfig {
    /// `amqp://user:password@host:port/vhost` or `amqps://…`; exactly one of `url` and `url_file`.
    pub url: Option<String>,
    /// A file that holds the URL, when it holds a password.
    pub url_file: Option<PathBuf>,
    /// Certificates (PEM) that vouch for the broker's, alone; without it those of the system do.
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
}

/// Without the address, which may hold a password.
impl std::fmt::Debug for NotifyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NotifyConfig({})", self.exchange)
    }
}

fn default_exchange() -> String {
    "chartseal.events".into()
}

impl NotifyConfig {
    /// As who publishes is configured. Every notice has its own routing key; this one is used by none.
    pub fn publisher(&self) -> PublisherConfig {
        PublisherConfig {
            url: self.url.clone(),
            url_file: self.url_file.clone(),
            tls_roots: self.tls_roots.clone(),
            tls_certificate: self.tls_certificate.clone(),
            tls_key: self.tls_key.clone(),
            auth: self.auth,
            exchange: self.exchange.clone(),
            routing_key: "notice".into(),
        }
    }

    /// Every file that it names.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let files = [&mut self.url_file, &mut self.tls_roots, &mut self.tls_certificate, &mut self.tls_key];
        files.into_iter().flatten()
    }
}
