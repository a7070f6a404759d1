//! One connection, with TLS where the address says so. lapin's own recovery is off: it may hang in silence, so whatever breaks ends the
//! connection and the supervisor (`source.rs`) makes a new one. Every wait has a limit.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::{AMQPUriTcpExt as _, AsyncTcpStream, RustlsConnector};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, Error, ErrorKind};
use schemas::ErrorClass;

use crate::access::Access;

/// Longest wait for one answer of the broker, in milliseconds.
const ANSWER_MS_MAX: u64 = 10_000;
/// Heartbeat unless the address says otherwise, in seconds: a dead peer is noticed within twice this time.
const HEARTBEAT_S: u16 = 4;

/// What is refused where a plugin is missing.
pub const HASHING: &str = "declare the exchange of the lanes";

/// Why there is no connection, or nothing to consume on it. Never with the address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The broker is away; trying again helps.
    #[error("found no answer of the broker while trying to {0}")]
    Away(&'static str),
    /// The broker refuses what is configured; it is tried again all the same, for brokers are repaired too.
    #[error("found that the broker refuses to {0}")]
    Refused(&'static str),
    /// It does not let this user in.
    #[error("found that the broker refuses this user, its password or its certificate, expected to be let in")]
    Login,
    /// It cannot sort into lanes.
    #[error(
        "found a broker without the plugin rabbitmq_consistent_hash_exchange, expected it for lanes: run `rabbitmq-plugins enable rabbitmq_consistent_hash_exchange` on every node"
    )]
    Plugin,
    /// The address cannot be read.
    #[error(
        "found no AMQP address, expected amqp://host:port/vhost or amqps://…, in a readable file where there is a file"
    )]
    Address,
    /// The address is plain where TLS is configured.
    #[error("found an address without TLS beside a configuration of TLS, expected amqps://")]
    Plain,
    /// The broker's certificate does not hold.
    #[error(
        "found a broker whose certificate is not vouched for ({0}), expected one of tls_roots, or of the system's authorities"
    )]
    Untrusted(String),
    /// A file of the configuration is of no use.
    #[error("{}: found {found}, expected {expected}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
}

impl ConnectError {
    /// The class that decides about the retry.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Away(_) => ErrorClass::Transient,
            _ => ErrorClass::Caller,
        }
    }
}

/// Connects to the broker whose turn it is.
pub async fn connect(access: &Access<'_>, name: &str, attempt: usize) -> Result<Connection, ConnectError> {
    let mut uri = access.uri(attempt)?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
    let properties = ConnectionProperties::default().with_connection_name(format!("chartseal {name}").into());
    let tls = match uri.scheme {
        AMQPScheme::AMQP => None,
        AMQPScheme::AMQPS => Some(RustlsConnector::from(access.tls()?)),
    };
    let runtime = lapin::runtime::default_runtime().map_err(|_| ConnectError::Away("find a runtime"))?;
    let connecting = Connection::connector(
        uri,
        runtime,
        async move |uri, runtime| {
            let plain = AMQPUri { scheme: AMQPScheme::AMQP, ..uri.clone() };
            let stream: AsyncTcpStream<_> = plain.connect_async(&runtime).await?;
            match &tls {
                None => Ok(stream),
                Some(tls) => Ok(stream.into_rustls(tls, uri.authority.host.trim_matches(['[', ']'])).await?),
            }
        },
        properties,
    );
    answered("connect", connecting).await
}

/// Waits for an answer, but not for ever.
pub async fn answered<T>(
    what: &'static str,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, ConnectError> {
    match tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(match error.kind() {
            ErrorKind::ProtocolError(error) => match error.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) if what == "connect" => ConnectError::Login,
                AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED) => ConnectError::Away(what),
                AMQPErrorKind::Hard(AMQPHardError::COMMANDINVALID) if what == HASHING => ConnectError::Plugin,
                _ => ConnectError::Refused(what),
            },
            ErrorKind::AuthProviderError(_) => ConnectError::Login,
            ErrorKind::IOError(error) => untrusted(error).unwrap_or(ConnectError::Away(what)),
            _ => ConnectError::Away(what),
        }),
        Err(_) => Err(ConnectError::Away(what)),
    }
}

/// A fault that TLS found: never one that trying again helps.
fn untrusted(error: &std::io::Error) -> Option<ConnectError> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match tls {
        rustls::Error::AlertReceived(_) => ConnectError::Login,
        other => ConnectError::Untrusted(other.to_string()),
    })
}
