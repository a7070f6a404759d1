//! MLLP: HL7 v2 messages over a TCP connection, framed as `<VT> message <FS><CR>` (HL7 v2, appendix C), with TLS and
//! mutual TLS. A listener that is a source of the way in, and a sender. A message is acknowledged when it was accepted, that
//! is after the inbox commit, in original or enhanced mode as its MSH-15 and MSH-16 ask; what became of it is a message that the
//! gateway sends later. It passes bytes on; it must never
//! look further into a message than its MSH, know keys or the ledger, or put a byte of a message into a log.

mod acknowledge;
mod config;
mod connection;
mod frame;
mod header;
mod places;
mod sender;
mod source;
mod tls;

pub use acknowledge::{Answer, HEAD_BYTES, Wanted, acknowledgement, answer, application, last_word};
pub use config::{ApplicationAckConfig, MllpConfig, SenderConfig};
pub use frame::{Decoder, Event, encode};
pub use header::Header;
pub use sender::{Acknowledged, MllpSender, SendError};
pub use source::MllpSource;
pub use tls::TlsError;
