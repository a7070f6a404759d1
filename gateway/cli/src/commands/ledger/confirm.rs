//! `chartseal ledger confirm`: a newcomer's word that it is there, once a quorum voted for a list with its key, and the proofs of epochs that
//! its validator starts with. It must never speak for a list that it did not show, and may be said again: what is done is not done twice.

use std::path::Path;
use std::time::Duration;

use ledger_client::{Epochs, HttpLedger, Validators as _};
use ledger_node::key::{self, ValidatorKey};
use schemas::ballot::{ConfirmSeat, list_hash};
use schemas::block::quorum;
use schemas::cbor;
use schemas::cose;
use schemas::genesis::{Genesis, Validator};
use schemas::id::PublicKey;
use schemas::transaction::{Body, Core, Outcome as Executed, Signed, Signer, Transaction};
use tokio::time::Instant;

use super::decided;
use super::members::{Standing, VALID_BLOCKS, show_list};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, good};

/// Between two looks at the ledger, one that does not answer too.
const AGAIN: Duration = Duration::from_secs(1);

/// Where a key stands.
enum Place {
    /// In the list that is voted for.
    Elected(Vec<Validator>),
    /// New in the epoch that is decided: proofs of it are on their way.
    Coming,
    /// A validator of now that stays one.
    Seated,
    /// No list has a quorum, and the key is no validator's.
    Open,
}

/// Says that the key's holder is there, waits until enough others are, and keeps what its validator starts with.
pub(super) async fn confirm(
    ledger: &HttpLedger,
    genesis: &Genesis,
    (path, wait): (&Path, Duration),
    output: Output,
) -> Outcome {
    let key = key::open(path).map_err(Failure::usage)?;
    let (deadline, me) = (Instant::now() + wait, key.public());
    let left = || deadline.saturating_duration_since(Instant::now());
    // proofs vouch for themselves: a ledger that stands because this validator is missing gives them too
    if !has_come(ledger, &me).await {
        let mut standing = Standing::read(ledger, genesis).await?;
        match place(ledger, &standing, &me, output).await? {
            Place::Elected(list) => {
                show_list(&list, &standing.current, output);
                say(ledger, genesis, &standing, (&list, &key, left()), output).await?;
            }
            Place::Coming => {}
            Place::Seated => return seated(&standing, output),
            Place::Open => return Err(no_list(&standing)),
        }
        while !has_come(ledger, &me).await {
            tokio::time::sleep(left().min(AGAIN)).await;
            standing = match Standing::read(ledger, genesis).await {
                Ok(now) => now,
                Err(failure) if failure.exit == Exit::TryAgain && !left().is_zero() => continue,
                Err(failure) => return Err(failure),
            };
            let found = place(ledger, &standing, &me, output).await?;
            if matches!(found, Place::Seated) {
                return seated(&standing, output);
            }
            if left().is_zero() {
                return Err(waiting(ledger, &standing, found).await?);
            }
        }
    }
    let epochs = ledger.newest_epochs().await;
    keep(&epochs, path, output)
}

/// Whether the newest epoch that is proved has the key, and the one before it has not.
async fn has_come(ledger: &HttpLedger, key: &PublicKey) -> bool {
    let epochs = ledger.newest_epochs().await;
    let newest = epochs.newest();
    let before = newest.epoch().checked_sub(1).and_then(|epoch| epochs.in_epoch(epoch));
    newest.keys().contains(key) && before.is_some_and(|before| !before.keys().contains(key))
}

/// Writes the proofs of the epochs up to the newest one, in which the key is new.
fn keep(epochs: &Epochs, path: &Path, output: Output) -> Outcome {
    let (epoch, first) = (epochs.newest().epoch(), epochs.newest().first());
    let proofs = epochs.proofs(epoch).unwrap_or_default();
    output.line(format_args!("{}  a seat in epoch {epoch}, from height {first}", good("decided")));
    let kept = ledger_node::keep_proofs(path, proofs).map_err(|e| Failure::classed(e.class(), e))?;
    output.note(format_args!("wrote {}; start it now: chartseal node --config NODE.toml", kept.display()));
    output.document(&serde_json::json!({ "epoch": epoch, "first": first, "proofs": kept.display().to_string() }))?;
    Ok(Exit::Done)
}

/// A validator of now that nobody votes out needs nothing: what another one starts with would only mislead it.
fn seated(standing: &Standing, output: Output) -> Outcome {
    let newest = standing.next.as_ref().unwrap_or(&standing.current);
    let (epoch, first) = (newest.epoch, newest.first);
    output.line(format_args!("nothing to confirm: a validator already, and of epoch {epoch} too"));
    output.document(&serde_json::json!({ "epoch": epoch, "first": first, "proofs": null }))?;
    Ok(Exit::Done)
}

/// What the ledger says about the key. A list without it is shown.
async fn place(ledger: &HttpLedger, standing: &Standing, me: &PublicKey, output: Output) -> Result<Place, Failure> {
    let is_now = standing.current.members.iter().any(|member| member.key == *me);
    let has_it = |list: &[Validator]| list.iter().any(|member| member.key == *me);
    let without = |what: String, list: &[Validator]| {
        show_list(list, &standing.current, output);
        Failure::new(Exit::Failed, format_args!("found {what} without the key {me}, expected one that has it"))
    };
    if let Some(next) = &standing.next {
        let what = format!("epoch {} decided", next.epoch);
        return match has_it(&next.members) {
            true if is_now => Ok(Place::Seated),
            true => Ok(Place::Coming),
            false => Err(without(what, &next.members)),
        };
    }
    match standing.elected(ledger).await? {
        Some(list) if has_it(&list) => Ok(Place::Elected(list)),
        Some(list) => Err(without(format!("a list voted for as epoch {}", standing.current.epoch + 1), &list)),
        None if is_now => Ok(Place::Seated),
        None => Ok(Place::Open),
    }
}

/// Hands the word in, unless the ledger has it.
async fn say(
    ledger: &HttpLedger,
    genesis: &Genesis,
    standing: &Standing,
    (list, key, wait): (&[Validator], &ValidatorKey, Duration),
    output: Output,
) -> Result<(), Failure> {
    let there = standing.confirmed(ledger, list).await?;
    if there.iter().any(|member| member.key == key.public()) {
        return Ok(());
    }
    let body = ConfirmSeat { epoch: standing.current.epoch, members: list_hash(list), key: key.public() };
    let (chain, valid_until) = (genesis.chain_id(), standing.height + VALID_BLOCKS);
    let core = Core { chain, valid_until, body: Body::ConfirmSeat(body) };
    let signature = key.sign_bytes(&cose::transaction_to_sign(&core.chain, &core.id()));
    let signatures = vec![Signed { signer: Signer::NewKey, signature }];
    let transaction = Transaction { core, statements: vec![], signatures, authored: vec![] };
    let proof = decided(ledger, cbor::encode(&transaction), &transaction, wait, output).await?;
    match proof.entry.outcome {
        Executed::Accepted => {
            output.note(format_args!("the ledger has it, at height {}", proof.entry.height));
            Ok(())
        }
        Executed::Refused(refusal) => Err(Failure::new(Exit::Failed, format_args!("the ledger refused: {refusal:?}"))),
    }
}

fn no_list(standing: &Standing) -> Failure {
    let next = standing.current.epoch + 1;
    let found = format!(
        "found no list for epoch {next} that a quorum votes for; who voted for whom: chartseal ledger validators"
    );
    Failure::new(Exit::TryAgain, found)
}

/// Who is missing at the end of the time.
async fn waiting(ledger: &HttpLedger, standing: &Standing, found: Place) -> Result<Failure, Failure> {
    let list = match found {
        Place::Elected(list) => list,
        Place::Coming => return Ok(Failure::new(Exit::TryAgain, "it is decided, and nobody proves it yet; ask again")),
        _ => return Ok(no_list(standing)),
    };
    let (there, needed) = (standing.confirmed(ledger, &list).await?.len(), quorum(list.len()));
    let found =
        format!("{there} of {needed} members that are needed are there; ask again when the others have confirmed");
    Ok(Failure::new(Exit::TryAgain, found))
}
