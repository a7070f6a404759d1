//! `$verify`: what a reader needs to check a resource without trusting this server. Parameters with the receipt (one
//! spelling), the sealed bytes, and what binds the two: type, salt, leaf, index, count and path to the root that the
//! receipt's statement names. For a Consent: its document, salt and the commitment that the ledger holds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemas::json::Value;

use super::decide::Permitted;
use super::log::Logged;
use super::open::{DiscloseError, Opened};
use super::query::Place;
use crate::consents::{Consents, commitment};
use crate::store::{Store, StoreError, anchors, cases};

/// The Parameters of one opened unit.
///
/// # Errors
/// `DiscloseError` when the receipt is not there.
pub async fn parameters(
    store: &Store,
    permitted: &Permitted,
    opened: &Opened,
    _logged: &Logged,
) -> Result<Value, DiscloseError> {
    let sealed = ("sealed", "valueBase64Binary", STANDARD.encode(&opened.bytes));
    let named = match (&permitted.row.place, &opened.proof) {
        (Place::Unit { case, .. }, Some(proof)) => {
            let found = cases::get(store, &[*case]).await?;
            let found = found.into_iter().next().ok_or(StoreError::Corrupt { what: "cases" })?;
            let path: Vec<String> = proof.path.iter().map(ToString::to_string).collect();
            vec![
                ("receipt", "valueString", anchors::receipt(store, &found).await?),
                sealed,
                ("type", "valueCode", permitted.row.resource_type.clone()),
                ("salt", "valueString", schemas::id::to_hex(&proof.salt)),
                ("leaf", "valueString", proof.leaf.to_string()),
                ("index", "valueString", proof.index.to_string()),
                ("count", "valueString", proof.count.to_string()),
                ("path", "valueString", path.join(",")),
            ]
        }
        (Place::Document { consent, .. }, _) => {
            let salt = Consents::salt(store, consent).await?.unwrap_or_default();
            vec![
                ("consent", "valueString", consent.to_string()),
                sealed,
                ("commitment", "valueString", commitment(&salt, &opened.resource).to_string()),
                ("salt", "valueString", schemas::id::to_hex(&salt)),
            ]
        }
        (Place::Unit { .. }, None) => return Err(DiscloseError::Permit),
    };
    let parameter = |(name, kind, text): (&'static str, &'static str, String)| {
        Value::object([("name", Value::from(name)), (kind, Value::from(text))])
    };
    let parameters: Vec<Value> = named.into_iter().filter(|(_, _, text)| !text.is_empty()).map(parameter).collect();
    Ok(Value::object([("resourceType", Value::from("Parameters")), ("parameter", Value::from(parameters))]))
}
