//! How a broker is reached, the same for who consumes and who publishes: addresses, TLS from PEM files, the way to log in. Files are
//! read again for every connection, so that renewed certificates are taken. Errors name files, never an address or what a file holds.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapin::uri::{AMQPScheme, AMQPUri, SASLMechanism};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::connection::ConnectError;

/// How to log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// By user and password of the address.
    #[default]
    Password,
    /// By the client certificate (SASL EXTERNAL): the broker's plugin `rabbitmq_auth_mechanism_ssl`.
    External,
}

/// The part of a configuration that says how the broker is reached.
pub(crate) struct Access<'a> {
    pub url: Option<&'a str>,
    pub url_file: Option<&'a Path>,
    pub tls_roots: Option<&'a Path>,
    pub tls_certificate: Option<&'a Path>,
    pub tls_key: Option<&'a Path>,
    pub auth: Auth,
}

/// The view of any configuration that has these fields.
macro_rules! access {
    ($config:expr) => {
        $crate::access::Access {
            url: $config.url.as_deref(),
            url_file: $config.url_file.as_deref(),
            tls_roots: $config.tls_roots.as_deref(),
            tls_certificate: $config.tls_certificate.as_deref(),
            tls_key: $config.tls_key.as_deref(),
            auth: $config.auth,
        }
    };
}
pub(crate) use access;

impl Access<'_> {
    /// Whether the values make sense together.
    ///
    /// # Errors
    /// What was expected, without the address.
    pub fn check(&self) -> Result<(), String> {
        if self.url.is_some() == self.url_file.is_some() {
            return Err("expected exactly one of `url` and `url_file`".into());
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return Err("tls_certificate: expected `tls_certificate` and `tls_key` together".into());
        }
        let with_tls = self.tls_roots.is_some() || self.tls_key.is_some() || self.auth == Auth::External;
        if let Some(url) = self.url {
            let known = |one: &str| one.starts_with("amqps://") || (one.starts_with("amqp://") && !with_tls);
            if url.trim().is_empty() || !url.split_ascii_whitespace().all(known) {
                let expected = if with_tls { "amqps://, since TLS is configured" } else { "amqp:// or amqps://" };
                return Err(format!("url: found another scheme, expected {expected}"));
            }
        }
        if self.auth == Auth::External && self.tls_key.is_none() {
            return Err("auth: found `external`, expected `tls_certificate` and `tls_key` to log in with".into());
        }
        Ok(())
    }

    /// What is allowed and yet seldom meant.
    pub fn warnings(&self) -> Vec<&'static str> {
        let mut found = Vec::new();
        if self.url.is_some_and(|url| url.split_ascii_whitespace().any(|one| password(one).is_some())) {
            found.push("url holds a password; url_file or ${file:…} keeps it out of this file");
        }
        let bare = |one: &String| one.starts_with("amqp://") && password(one).is_some() && !is_loopback(one);
        if self.addresses().iter().any(bare) {
            found.push("the password goes to another machine without TLS; amqps:// keeps it and the messages secret");
        }
        if self.auth == Auth::External && self.addresses().iter().any(|one| password(one).is_some()) {
            found.push("the address holds a password that `auth = \"external\"` does not use");
        }
        found
    }

    /// The addresses, from the file when they are in one; none where it cannot be read.
    pub fn addresses(&self) -> Vec<String> {
        let text = match (self.url, self.url_file) {
            (Some(url), _) => url.to_owned(),
            (None, file) => file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default(),
        };
        text.split_ascii_whitespace().map(str::to_owned).collect()
    }

    /// The broker whose turn it is.
    pub fn uri(&self, attempt: usize) -> Result<AMQPUri, ConnectError> {
        let all = self.addresses();
        let at = attempt.checked_rem(all.len()).and_then(|turn| all.get(turn)).ok_or(ConnectError::Address)?;
        let mut uri: AMQPUri = at.parse().map_err(|_| ConnectError::Address)?;
        if self.auth == Auth::External {
            uri.query.auth_mechanism = Some(SASLMechanism::External);
        }
        // a file may hold another scheme than what stands beside it asks for
        let needs_tls = self.auth == Auth::External || self.tls_roots.is_some() || self.tls_key.is_some();
        if needs_tls && uri.scheme != AMQPScheme::AMQPS { Err(ConnectError::Plain) } else { Ok(uri) }
    }

    /// Reads the address and makes TLS of the files.
    pub fn rehearse(&self) -> Result<(), ConnectError> {
        match self.uri(0)?.scheme {
            AMQPScheme::AMQPS => self.tls().map(drop),
            AMQPScheme::AMQP => Ok(()),
        }
    }

    /// What TLS is spoken with: the authorities of `tls_roots` alone, or the system's where there is no such file.
    pub fn tls(&self) -> Result<ClientConfig, ConnectError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|_| ConnectError::Away("making TLS"))?.with_root_certificates(self.roots()?);
        match self.tls_certificate.zip(self.tls_key) {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key)) => builder
                .with_client_auth_cert(chain(certificate)?, secret(key)?)
                .map_err(|e| fault(key, e, "the key of the certificate")),
        }
    }

    fn roots(&self) -> Result<RootCertStore, ConnectError> {
        let mut roots = RootCertStore::empty();
        match self.tls_roots {
            Some(file) => {
                for certificate in chain(file)? {
                    roots.add(certificate).map_err(|e| fault(file, e, "certificates that vouch for others"))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        Ok(roots)
    }
}

fn fault(file: &Path, found: impl ToString, expected: &'static str) -> ConnectError {
    ConnectError::File { file: PathBuf::from(file), found: found.to_string(), expected }
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let expected = "a certificate chain in PEM";
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|e| fault(file, e, expected))?;
    if all.is_empty() { Err(fault(file, "no certificate", expected)) } else { Ok(all) }
}

/// A key that others can read is none.
fn secret(file: &Path) -> Result<PrivateKeyDer<'static>, ConnectError> {
    let mode = std::fs::metadata(file).map_err(|e| fault(file, e.kind(), "a private key in PEM"))?.permissions().mode();
    if mode & 0o077 != 0 {
        let found = format!("mode {:04o}", mode & 0o7777);
        return Err(fault(file, found, "a key that only its owner can read: run `chmod 600` on it"));
    }
    PrivateKeyDer::from_pem_file(file).map_err(|e| fault(file, e, "a private key in PEM"))
}

/// The authority part of an address, split into what is before the `@` and host with port.
fn parts(url: &str) -> (Option<&str>, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host))
}

fn password(url: &str) -> Option<&str> {
    parts(url).0?.split_once(':').map(|(_, password)| password)
}

/// Whether an address stays on this machine.
pub(crate) fn is_loopback(url: &str) -> bool {
    let host = parts(url).1;
    let host = host.strip_prefix('[').map_or_else(|| host.split(':').next(), |v6| v6.split(']').next());
    let host = host.unwrap_or_default();
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}
