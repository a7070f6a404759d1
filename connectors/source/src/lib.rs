//! What every connector offers to the way in: a [`Source`] that yields [`Delivery`]s, each settled exactly once, and a
//! [`SourceHealth`] that readiness and metrics read. `SPEC.md` beside this crate holds the MUSTs; `conformance` runs them
//! against a connector. Nothing here knows keys, the ledger or what a message means.

pub mod conformance;
mod delivery;
mod error;
mod finding;
mod health;
mod hl7;
mod source;

pub use delivery::{Delivery, Redelivery, Rejection, Settle, SettleFuture, Settlement, TraceContext};
pub use error::{SettleError, SourceError};
pub use finding::{Finding, Level};
pub use health::{HealthReporter, SourceHealth};
pub use hl7::Hl7Defaults;
pub use source::{NextDelivery, Source};
