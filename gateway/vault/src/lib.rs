//! The vault: the only crate that can name a key of a patient, a case, an institution or a practitioner. It seals cases
//! (Algorithm 1), checks them as their recipient will (Algorithm 2), opens single units under a permit or a named purpose
//! of the custodian, and derives pseudonyms. Formats: `schemas/wire/envelope.md`.
//!
//! On the way in it is called by *seal*, *anchor* (check) and *index*; on the way out by *open*. It must never log, never
//! put a key or a plaintext into an error or a Debug output, and never open a unit without a permit or a purpose.

mod boxed;
mod check;
mod derive;
mod error;
mod files;
mod open;
mod personal;
mod prove;
mod random;
mod seal;
mod sign;
mod subject;
mod unit;
mod vault;
mod wrap;

pub use check::{Checked, Trusted, VerifiedAnchor};
pub use error::{AbandonError, OpenError, SealError, UnitError, VaultError};
pub use open::{Custody, CustodyPurpose, OpenCase};
pub use personal::PersonalKey;
pub use prove::UnitProof;
pub use random::random;
pub use seal::{SealRequest, Sealed};
pub use sign::verify;
pub use subject::SubjectKey;
pub use unit::{RAW, Unit, UnitRef};
pub use vault::{Naming, RawKey, Vault};
