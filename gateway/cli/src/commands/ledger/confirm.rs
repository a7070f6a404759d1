//! `chartseal ledger confirm`: a newcomer's word that it is there, once a quorum voted for a list with its key, and the proofs of epochs that
//! its validator starts with. It must never speak for a list that it did not show, and may be said again: what is done is not done twice.

use std::path::Path;
use std::time::Duration;

use ledger_client::{HttpLedger, Ledger};
use ledger_node::key::{self, ValidatorKey};
use schemas::ballot::{ConfirmSeat, list_hash};
use schemas::block::quorum;
use schemas::cbor;
use schemas::cose;
use schemas::genesis::{Genesis, Validator};
use schemas::transaction::{Body, Core, Signed, Signer, Transaction};
use tokio::time::Instant;

use super::hand_in;
use super::members::{Standing, VALID_BLOCKS, show_list};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, good};

/// Longest that one question may wait for a block.
const STEP: Duration = Duration::from_secs(5);

/// Says that the key's holder is there, waits until enough others are, and keeps what its validator starts with.
pub(super) async fn confirm(
    ledger: &HttpLedger,
    genesis: &Genesis,
    (path, wait): (&Path, Duration),
    output: Output,
) -> Outcome {
    let key = key::open(path).map_err(Failure::usage)?;
    let deadline = Instant::now() + wait;
    let mut standing = Standing::read(ledger, genesis).await?;
    if seat(&standing, &key).is_none() {
        let exit = say(ledger, genesis, &standing, (&key, wait), output).await?;
        if exit != Exit::Done {
            return Ok(exit);
        }
    }
    let (epoch, first) = loop {
        if let Some(found) = seat(&standing, &key) {
            break found;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(waiting(ledger, &standing).await?);
        }
        // a block, or the end of the time, whichever is first
        drop(ledger.blocks(standing.height.saturating_add(1), 1, left.min(STEP)).await);
        standing = Standing::read(ledger, genesis).await?;
    };
    let epochs = ledger.newest_epochs().await;
    let proofs = epochs.proofs(epoch).filter(|_| epochs.newest().epoch() >= epoch).ok_or_else(|| {
        Failure::new(Exit::TryAgain, format_args!("found no validator that proves epoch {epoch}; ask again"))
    })?;
    output.line(format_args!("{}  a seat in epoch {epoch}, from height {first}", good("decided")));
    let kept = if proofs.is_empty() {
        None
    } else {
        Some(ledger_node::keep_proofs(path, proofs).map_err(|e| Failure::classed(e.class(), e))?)
    };
    let kept = kept.map(|kept| kept.display().to_string());
    if let Some(kept) = &kept {
        output.note(format_args!("wrote {kept}; start it now: chartseal node --config NODE.toml"));
    }
    output.document(&serde_json::json!({ "epoch": epoch, "first": first, "proofs": kept }))?;
    Ok(Exit::Done)
}

/// Epoch and first height of the newest epoch that is decided, when the key is in it.
fn seat(standing: &Standing, key: &ValidatorKey) -> Option<(u64, u64)> {
    let newest = standing.next.as_ref().unwrap_or(&standing.current);
    let has_seat = newest.members.iter().any(|member| member.key == key.public());
    has_seat.then_some((newest.epoch, newest.first))
}

/// Hands the word in, unless the ledger has it.
async fn say(
    ledger: &HttpLedger,
    genesis: &Genesis,
    standing: &Standing,
    (key, wait): (&ValidatorKey, Duration),
    output: Output,
) -> Outcome {
    let epoch = standing.current.epoch;
    if let Some(next) = &standing.next {
        let found = format!("found epoch {} decided without this key, expected a seat; vote again then", next.epoch);
        return Err(Failure::new(Exit::Failed, found));
    }
    let elected = standing.elected(ledger).await?;
    let list = elected.filter(|list| list.iter().any(|member| member.key == key.public())).ok_or_else(|| {
        let expected = "expected one with this key; who voted for whom: chartseal ledger validators";
        Failure::new(
            Exit::TryAgain,
            format_args!("found no list of epoch {} that a quorum votes for, {expected}", epoch + 1),
        )
    })?;
    show_list(&list, &standing.current, output);
    let there = standing.confirmed(ledger, &list).await?;
    if there.iter().any(|member| member.key == key.public()) {
        return Ok(Exit::Done);
    }
    let transaction = signed(genesis, standing, &list, key);
    hand_in(ledger, cbor::encode(&transaction), &transaction, wait, output).await
}

fn signed(genesis: &Genesis, standing: &Standing, list: &[Validator], key: &ValidatorKey) -> Transaction {
    let body = ConfirmSeat { epoch: standing.current.epoch, members: list_hash(list), key: key.public() };
    let (chain, valid_until) = (genesis.chain_id(), standing.height + VALID_BLOCKS);
    let core = Core { chain, valid_until, body: Body::ConfirmSeat(body) };
    let signature = key.sign_bytes(&cose::transaction_to_sign(&core.chain, &core.id()));
    let signatures = vec![Signed { signer: Signer::NewKey, signature }];
    Transaction { core, statements: vec![], signatures, authored: vec![] }
}

/// Who is missing.
async fn waiting(ledger: &HttpLedger, standing: &Standing) -> Result<Failure, Failure> {
    let Some(list) = standing.elected(ledger).await? else {
        return Ok(Failure::new(
            Exit::TryAgain,
            "a voter changed its mind: chartseal ledger validators shows the votes",
        ));
    };
    let there = standing.confirmed(ledger, &list).await?.len();
    let needed = quorum(list.len());
    let found = format!("{there} of {needed} members that are needed are there; the others confirm, then ask again");
    Ok(Failure::new(Exit::TryAgain, found))
}
