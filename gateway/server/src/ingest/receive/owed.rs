//! What senders are owed beyond the accept acknowledgement. Part of *receive*: in the same commit as the message, so that none is forgotten. It
//! looks at a message's MSH alone.

use std::collections::HashMap;

use connectors_mllp::Wanted;
use gateway_vault::{Vault, VaultError};
use schemas::id::Digest;

use super::{Message, Outcome, Prepared};
use crate::acknowledge::context;
use crate::store::application_acks::{self as acks, Owed};
use crate::store::{StoreError, Write};

/// What a message asks for, where its connector can say it.
pub(super) fn of(vault: &Vault, message: &Message, source_key: Digest) -> Result<Option<Owed>, VaultError> {
    let Some((wanted, head)) = message.tells_outcome.then(|| Wanted::of(&message.body)).flatten() else {
        return Ok(None);
    };
    let head = vault.seal_row(&context(&source_key), head)?;
    Ok(Some(Owed { source_key, connector: message.connector.to_string(), wanted, head }))
}

/// Rows of the inbox with the digests of their content, by key.
type Known = HashMap<Digest, (i64, Digest)>;

/// Notes it for a group. `added`, `known`: rows of the inbox that are new, and that were there, by key.
pub(super) async fn note(
    write: &mut Write,
    prepared: &[Prepared],
    outcomes: &[Outcome],
    (added, known): (&HashMap<Digest, i64>, &Known),
) -> Result<(), StoreError> {
    let owed = |(p, outcome): (&'_ Prepared, &Outcome)| p.owed.clone().map(|owed| (owed, *outcome));
    let all: Vec<(Owed, Outcome)> = prepared.iter().zip(outcomes).filter_map(owed).collect();
    let is_new =
        |(owed, outcome): &&(Owed, Outcome)| *outcome == Outcome::Received && added.contains_key(&owed.source_key);
    let new: Vec<(i64, &Owed)> = all.iter().filter(is_new).map(|(owed, _)| (added[&owed.source_key], owed)).collect();
    acks::open(write, &new).await?;
    for (owed, outcome) in all.iter().filter(|one| !is_new(one)) {
        let id = added.get(&owed.source_key).or(known.get(&owed.source_key).map(|(id, _)| id));
        match outcome.refusal() {
            Some((code, path, _)) => acks::refused(write, owed, (code, path)).await?,
            None => {
                if let Some(id) = id {
                    acks::again(write, *id, owed).await?;
                }
            }
        }
    }
    Ok(())
}
