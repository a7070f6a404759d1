//! The sender: one connection, one message at a time, each answered. It connects when it has to; a connection that broke while an
//! answer was awaited leaves the outcome unknown, and the caller sends again: receivers know a message by its control id.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::pki_types::ServerName;
use schemas::{ErrorClass, limits};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::SenderConfig;
use crate::frame::{Decoder, Event, encode};
use crate::header::Header;
use crate::tls::{TlsError, connector};

/// Bytes that are read at once.
const READ_BYTES: usize = 4 << 10;
/// Largest acknowledgement, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why a message was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The receiver cannot be reached, or was lost: the message may have arrived.
    #[error("{address}: {doing}: {said}")]
    Away {
        /// The receiver.
        address: String,
        /// What was being done.
        doing: &'static str,
        /// What kind of fault it is.
        kind: io::ErrorKind,
        /// What the system, the resolver or TLS said.
        said: String,
    },
    /// What came back is no acknowledgement of the message.
    #[error(
        "{address}: found an answer that is no acknowledgement of the message, expected an MSA with its control id"
    )]
    Foreign {
        /// The receiver.
        address: String,
    },
}

impl SendError {
    /// The class that decides about the retry.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Tls(_) | Self::Foreign { .. } => ErrorClass::Caller,
            Self::Away { .. } => ErrorClass::Transient,
        }
    }
}

/// An acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// MSA-1: `AA`, `AE`, `AR`, `CA`, `CE` or `CR`.
    pub code: String,
    /// All of it.
    pub message: Bytes,
}

impl Acknowledged {
    /// Whether the receiver has taken the message.
    pub fn is_positive(&self) -> bool {
        matches!(self.code.as_str(), "AA" | "CA")
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A sender to one receiver.
pub struct MllpSender {
    config: SenderConfig,
    tls: Option<TlsConnector>,
    live: Option<(Box<dyn Stream>, Decoder, BytesMut)>,
}

impl MllpSender {
    /// A sender that is not connected yet.
    ///
    /// # Errors
    /// `TlsError`.
    pub fn new(config: SenderConfig) -> Result<Self, TlsError> {
        let tls = connector(&config)?;
        Ok(Self { config, tls, live: None })
    }

    /// Connects, where it is not connected: whether somebody listens.
    ///
    /// # Errors
    /// `SendError`.
    pub async fn reach(&mut self) -> Result<(), SendError> {
        let limit = Duration::from_millis(self.config.timeout_ms);
        let late = Err(self.away("connecting", io::ErrorKind::TimedOut.into()));
        tokio::time::timeout(limit, self.connected()).await.unwrap_or(late)
    }

    /// Hangs up, where it is connected.
    pub fn rest(&mut self) {
        self.live = None;
    }

    async fn connected(&mut self) -> Result<(), SendError> {
        if self.live.is_none() {
            let connecting = connect(&self.config.address, self.tls.as_ref()).await;
            let stream = connecting.map_err(|error| self.away("connecting", error))?;
            self.live = Some((stream, Decoder::new(ANSWER_BYTES_MAX), BytesMut::new()));
        }
        Ok(())
    }

    /// Sends one message and waits for its acknowledgement. `None` where the message asks for none (MSH-15 `NE`).
    ///
    /// # Errors
    /// `SendError`; after one the next call connects anew.
    pub async fn send(&mut self, message: &[u8]) -> Result<Option<Acknowledged>, SendError> {
        let kept = self.live.is_some();
        let sent = self.send_once(message).await;
        // a listener may have hung up meanwhile: that says nothing about this message
        let hung_up =
            |error: &SendError| matches!(error, SendError::Away { kind, .. } if *kind != io::ErrorKind::TimedOut);
        if kept && sent.as_ref().is_err_and(hung_up) { self.send_once(message).await } else { sent }
    }

    async fn send_once(&mut self, message: &[u8]) -> Result<Option<Acknowledged>, SendError> {
        let limit = Duration::from_millis(self.config.timeout_ms);
        let sent = match tokio::time::timeout(limit, self.exchange(message)).await {
            Ok(sent) => sent,
            Err(_) => Err(self.away("waiting for the acknowledgement", io::ErrorKind::TimedOut.into())),
        };
        if sent.is_err() {
            self.live = None;
        }
        sent
    }

    async fn exchange(&mut self, message: &[u8]) -> Result<Option<Acknowledged>, SendError> {
        let address = self.config.address.clone();
        let away = |doing| {
            let address = address.clone();
            move |error: io::Error| SendError::Away { address, doing, kind: error.kind(), said: error.to_string() }
        };
        self.connected().await?;
        let Some((stream, decoder, buffer)) = &mut self.live else { return Ok(None) };
        stream.write_all(&encode(message)).await.map_err(away("sending"))?;
        stream.flush().await.map_err(away("sending"))?;
        let header = Header::read(message);
        if header.as_ref().is_some_and(|header| matches!(header.field(15), b"NE")) {
            return Ok(None);
        }
        let id = header.as_ref().map(|header| header.field(10)).unwrap_or_default();
        loop {
            match decoder.decode(buffer) {
                Some(Event::Message(message)) => match acknowledged(&message, id) {
                    Some(code) => return Ok(Some(Acknowledged { code, message })),
                    None => return Err(SendError::Foreign { address }),
                },
                Some(_) => return Err(SendError::Foreign { address }),
                None => {}
            }
            buffer.reserve(READ_BYTES);
            if stream.read_buf(buffer).await.map_err(away("waiting for the acknowledgement"))? == 0 {
                return Err(away("waiting for the acknowledgement")(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn away(&self, doing: &'static str, error: io::Error) -> SendError {
        SendError::Away { address: self.config.address.clone(), doing, kind: error.kind(), said: error.to_string() }
    }
}

async fn connect(address: &str, tls: Option<&TlsConnector>) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let unnamed = |_| io::Error::new(io::ErrorKind::InvalidInput, "found no host name that a certificate can be for");
    let name = ServerName::try_from(host).map_err(unnamed)?;
    Ok(Box::new(tls.connect(name, stream).await?))
}

/// MSA-1 of an answer to the message with this control id.
fn acknowledged(answer: &[u8], id: &[u8]) -> Option<String> {
    let header = Header::read(answer)?;
    let line = answer.split(|b| matches!(b, b'\r' | b'\n')).find(|line| line.starts_with(b"MSA"))?;
    let mut fields = line.get(4..)?.split(|b| *b == header.separator());
    let (code, about) = (fields.next()?, fields.next().unwrap_or_default());
    let known = matches!(code, b"AA" | b"AE" | b"AR" | b"CA" | b"CE" | b"CR");
    (known && about == id).then(|| String::from_utf8_lossy(code).into_owned())
}

const _: () = assert!(ANSWER_BYTES_MAX < limits::MESSAGE_BYTES_DEFAULT);
