//! FHIR R4 out of hospital systems: a source that polls a server (search or history), a receiver of subscriptions' notifications, and
//! bulk export. A resource goes on byte for byte as it stood in its page. How far a poll is survives restarts (`Markers`) and never
//! passes what was not accepted. It must never look further into a resource than its type, id and version, follow an address to
//! another origin, or put a byte of a resource, an id or a credential into an error or a log.

mod config;
mod error;
mod export;
mod hook;
mod login;
mod marker;
mod notice;
mod page;
mod server;
mod source;
mod sweep;
mod time;
mod window;

pub use config::{FhirConfig, HookConfig, LoginConfig, Mode, ServerConfig};
pub use error::FhirError;
pub use export::{Export, ExportFile, Level, Lines, Manifest, Standing};
pub use hook::{Hook, HookSource, Taken};
pub use marker::{Marker, MarkerError, MarkerFuture, Markers, Token};
pub use notice::{Notice, NoticeError};
pub use server::Server;
pub use source::FhirSource;
