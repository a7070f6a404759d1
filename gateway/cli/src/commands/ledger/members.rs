//! `chartseal ledger validators|vote|join`: who the validators are, who is voted for, and a validator's own vote. All of it is read
//! with proofs from the state at one height, fresh or said not to be; the key that signs stays in its file. It must never sign
//! what it did not show or what is not fresh, and never more than one ballot.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ledger_client::{HttpLedger, Ledger};
use ledger_node::key;
use ledger_proof::verify_signature;
use schemas::ballot::{self, Ballot, Member, possession_to_sign};
use schemas::block::{Epoch, ValidatorIndex, quorum};
use schemas::cbor::{self, Record};
use schemas::cose;
use schemas::genesis::{Genesis, Validator};
use schemas::id::{Height, TimeMs};
use schemas::state::{self, CastBallot, EpochRecord, Evidence, SeatConfirmation};
use schemas::transaction::{Body, Core, Signed, Signer, Transaction};

use super::{failed, hand_in, prove, timestamp};
use crate::failure::{Exit, Failure, Outcome, read_text};
use crate::output::{Output, bad, strong};

/// Blocks for which a ballot can be executed: a vote that is not in by then is to be thought about again.
pub(super) const VALID_BLOCKS: u64 = 1_000;

/// The epoch of the next block, and the one behind it once it is decided.
pub(super) struct Standing {
    pub height: Height,
    pub current: EpochRecord,
    pub next: Option<EpochRecord>,
}

impl Standing {
    /// As the state says at a height that is proved fresh.
    pub async fn read(ledger: &HttpLedger, genesis: &Genesis) -> Result<Self, Failure> {
        Self::at(ledger, genesis, prove::fresh(ledger).await?).await
    }

    /// The same, to be looked at; where too few validators answer for a fresh height, at the newest that any of them proves, and
    /// of when its block is.
    async fn newest(ledger: &HttpLedger, genesis: &Genesis) -> Result<(Self, Option<TimeMs>), Failure> {
        let stands = match prove::fresh(ledger).await {
            Ok(height) => return Ok((Self::at(ledger, genesis, height).await?, None)),
            Err(failure) => failure,
        };
        let proof = ledger.newest_state(&state::newest_epoch_key()).await.map_err(failed)?.ok_or(stands)?;
        let (height, time) = (proof.header.height, proof.header.time);
        Ok((Self::at(ledger, genesis, height).await?, Some(time)))
    }

    async fn at(ledger: &HttpLedger, genesis: &Genesis, height: Height) -> Result<Self, Failure> {
        if height == 0 {
            let current = EpochRecord::genesis(genesis.validators.clone());
            return Ok(Self { height, current, next: None });
        }
        let newest: Epoch = proved(ledger, &state::newest_epoch_key(), height).await?.ok_or_else(missing)?;
        let record = |epoch: Epoch| async move {
            proved::<EpochRecord>(ledger, &state::epoch_key(epoch), height).await?.ok_or_else(missing)
        };
        let found = record(newest).await?;
        if newest == 0 || found.first <= height.saturating_add(1) {
            return Ok(Self { height, current: found, next: None });
        }
        Ok(Self { height, current: record(newest - 1).await?, next: Some(found) })
    }

    /// The list that a quorum names, while nothing is decided.
    pub async fn elected(&self, ledger: &HttpLedger) -> Result<Option<Vec<Validator>>, Failure> {
        if self.next.is_some() {
            return Ok(None);
        }
        let cast: Vec<Option<CastBallot>> = self.of_each(ledger, state::ballot_key).await?;
        let lists = cast.into_iter().flatten().map(|cast| cast.members).collect();
        Ok(ballot::elected(lists, self.current.members.len()))
    }

    /// The members of a list that said that they are there.
    pub async fn confirmed<'a>(
        &self,
        ledger: &HttpLedger,
        list: &'a [Validator],
    ) -> Result<Vec<&'a Validator>, Failure> {
        let mut there = vec![];
        for member in list {
            let key = state::confirmation_key(self.current.epoch, &member.key);
            let said: Option<SeatConfirmation> = proved(ledger, &key, self.height).await?;
            let counts = |said: &SeatConfirmation| {
                said.members == ballot::list_hash(list) && said.counts_at(self.height.saturating_add(1))
            };
            there.extend(said.filter(counts).map(|_| member));
        }
        Ok(there)
    }

    /// What a validator of the epoch was shown to have done or said.
    async fn of_each<T: Record>(
        &self,
        ledger: &HttpLedger,
        key: impl Fn(Epoch, ValidatorIndex) -> Vec<u8>,
    ) -> Result<Vec<Option<T>>, Failure> {
        let mut found = Vec::with_capacity(self.current.members.len());
        for (index, _) in (0..).zip(&self.current.members) {
            found.push(match self.height {
                0 => None,
                height => proved(ledger, &key(self.current.epoch, index), height).await?,
            });
        }
        Ok(found)
    }

    fn quorum(&self) -> usize {
        quorum(self.current.members.len())
    }
}

fn missing() -> Failure {
    Failure::new(Exit::Failed, "found no record of the epoch in the state, expected one since the genesis")
}

/// A record of the state at a height, with proof.
async fn proved<T: Record>(ledger: &HttpLedger, key: &[u8], height: Height) -> Result<Option<T>, Failure> {
    let text = state::text_of_key(key);
    let proof = ledger.state(key, height).await.map_err(failed)?.ok_or_else(|| {
        Failure::new(Exit::TryAgain, format_args!("{text}: no validator that answered can prove it at height {height}"))
    })?;
    let decoded = proof.value.map(|value| cbor::decode(&value.0)).transpose();
    decoded.map_err(|e| Failure::new(Exit::Failed, format_args!("{text}: {e}")))
}

/// Shows the epoch, its validators, what is held against them, the votes, and what is decided.
pub(super) async fn show(ledger: &HttpLedger, genesis: &Genesis, file: Option<&Path>, output: Output) -> Outcome {
    let (standing, stands) = Standing::newest(ledger, genesis).await?;
    let evidence: Vec<Option<Evidence>> = standing.of_each(ledger, state::evidence_key).await?;
    let cast: Vec<Option<CastBallot>> = standing.of_each(ledger, state::ballot_key).await?;
    let Standing { height, current, next } = &standing;
    let (epoch, first, needed) = (current.epoch, current.first, standing.quorum());
    let title = format_args!("epoch {epoch} from height {first}, {needed} make a quorum, as of height {height}");
    output.line(strong(title));
    if let Some(time) = stands {
        show_age(time, output);
    }
    let mut validators = Vec::new();
    for ((index, validator), held) in current.members.iter().enumerate().zip(&evidence) {
        let word = if held.is_some() { bad("  signed two votes that contradict each other") } else { String::new() };
        output.line(format_args!("{index:>3}  {:20}  {}{word}", validator.name, validator.key));
        validators.push(serde_json::json!({
            "name": validator.name, "key": validator.key, "faulty": held.is_some(),
        }));
    }
    let mut lists: BTreeMap<Vec<Validator>, Vec<(&str, Height)>> = BTreeMap::new();
    for (voter, cast) in current.members.iter().zip(&cast) {
        if let Some(cast) = cast {
            lists.entry(cast.members.clone()).or_default().push((&voter.name, cast.height));
        }
    }
    let mut ballots = Vec::new();
    for (members, voters) in &lists {
        let names: Vec<_> = voters.iter().map(|(name, height)| format!("{name} (height {height})")).collect();
        output.line(format_args!("{} of {needed} votes: {}", voters.len(), names.join(", ")));
        show_list(members, current, output);
        let is_elected = voters.len() >= needed && next.is_none();
        let there = if is_elected { standing.confirmed(ledger, members).await? } else { vec![] };
        let there: Vec<&str> = there.iter().map(|member| member.name.as_str()).collect();
        if is_elected {
            let (count, needed) = (there.len(), quorum(members.len()));
            output.line(format_args!("      {count} of {needed} that are needed are there: {}", there.join(", ")));
        }
        let voters: Vec<_> =
            voters.iter().map(|(name, height)| serde_json::json!({ "name": name, "height": height })).collect();
        ballots.push(serde_json::json!({ "voters": voters, "members": members, "there": there }));
    }
    if let Some(next) = next {
        let (epoch, first, decided) = (next.epoch, next.first, next.decided_at);
        output.line(strong(format_args!("decided at height {decided}: epoch {epoch} from height {first}")));
        show_list(&next.members, current, output);
    }
    if let Some(file) = file {
        write_members(file, &current.members, output)?;
    }
    output.document(&serde_json::json!({
        "chain": genesis.chain_id(), "height": height, "fresh": stands.is_none(), "time": stands.map(timestamp),
        "epoch": epoch, "first": first, "quorum": needed,
        "validators": validators, "ballots": ballots, "next": next.as_ref().map(|next| serde_json::json!({
            "epoch": next.epoch, "first": next.first, "seal": next.previous_seal(), "decided_at": next.decided_at,
            "validators": next.members,
        })),
    }))?;
    Ok(if stands.is_none() { Exit::Done } else { Exit::TryAgain })
}

/// How old it is what is shown, when the ledger stands.
fn show_age(time: TimeMs, output: Output) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    let age_s = now.saturating_sub(time) / 1_000;
    output.line(bad(format_args!(
        "not fresh: fewer than a quorum show a head younger than 5 s; this is proved as of {}, {age_s} s ago, and what came later is \
         not in it",
        timestamp(time)
    )));
}

/// A list beside the one of now: who comes, who stays, who leaves.
pub(super) fn show_list(members: &[Validator], current: &EpochRecord, output: Output) {
    let is_in = |list: &[Validator], one: &Validator| list.iter().any(|other| other.key == one.key);
    for (index, member) in members.iter().enumerate() {
        let sign = if is_in(&current.members, member) { ' ' } else { '+' };
        output.line(format_args!("{index:>5} {sign} {:20}  {}", member.name, member.key));
    }
    for member in current.members.iter().filter(|member| !is_in(members, member)) {
        output.line(format_args!("      - {:20}  {}", member.name, member.key));
    }
}

/// The list of now as a file to be changed and voted for.
fn write_members(file: &Path, members: &[Validator], output: Output) -> Result<(), Failure> {
    let failed = |e: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format_args!("{}: {e}; expected a file that can be written", file.display()))
    };
    let text = serde_json::to_string_pretty(members).map_err(|e| failed(&e))? + "\n";
    std::fs::write(file, text).map_err(|e| failed(&e))?;
    output.note(format_args!("wrote {}; change it, then: chartseal ledger vote --members", file.display()));
    Ok(())
}

/// A newcomer's line for the members file: its key, and proof that it is held and wants this seat.
pub(super) async fn join(
    ledger: &HttpLedger,
    genesis: &Genesis,
    (key, name, epoch): (&Path, &str, Option<Epoch>),
    output: Output,
) -> Outcome {
    if !ballot::is_name(name) {
        return Err(Failure::usage(format_args!("{name}: expected a name of at most 32 letters, digits and -")));
    }
    let epoch = match epoch {
        Some(epoch) => epoch,
        None => Standing::read(ledger, genesis).await?.current.epoch,
    };
    if !key.exists() {
        key::create(key).map_err(|e| Failure::classed(e.class(), e))?;
        output.note(format_args!("made {}; keep it where the validator runs", key.display()));
    }
    let key = key::open(key).map_err(Failure::usage)?;
    let seat = Validator { name: name.to_owned(), key: key.public() };
    let possession = Some(key.sign_bytes(&possession_to_sign(&genesis.chain_id(), epoch, &seat)));
    output.note(format_args!("for the members file of a vote in epoch {epoch}; it says nothing in a later one"));
    output.last_line(&Member { name: seat.name, key: seat.key, possession })?;
    Ok(Exit::Done)
}

/// Votes for the members of a file.
pub(super) async fn vote(
    ledger: &HttpLedger,
    genesis: &Genesis,
    (key, file, wait): (&Path, &Path, Duration),
    output: Output,
) -> Outcome {
    let members: Vec<Member> = serde_json::from_str(&read_text(file)?).map_err(|e| {
        Failure::usage(format_args!("{}: {e}; expected a list of name, key, possession", file.display()))
    })?;
    let key = key::open(key).map_err(Failure::usage)?;
    let Standing { height, current, next } = Standing::read(ledger, genesis).await?;
    let epoch = current.epoch;
    if let Some(next) = next {
        let found = format!("found epoch {} decided, from height {} on; vote again then", next.epoch, next.first);
        return Err(Failure::new(Exit::TryAgain, found));
    }
    let place = current.members.iter().position(|validator| validator.key == key.public());
    let place = place.and_then(|place| ValidatorIndex::try_from(place).ok()).ok_or_else(|| {
        Failure::usage(format_args!("found a key without a seat in epoch {epoch}, expected that of a validator of now"))
    })?;
    let members = check(genesis, &current, members)?;
    let list: Vec<_> = members.iter().map(Member::validator).collect();
    output.line(strong(format_args!("validator {place} of epoch {epoch} votes for")));
    show_list(&list, &current, output);
    let body = Body::Ballot(Ballot { epoch, voter: place, members });
    let core = Core { chain: genesis.chain_id(), valid_until: height + VALID_BLOCKS, body };
    let signature = key.sign_bytes(&cose::transaction_to_sign(&core.chain, &core.id()));
    let signatures = vec![Signed { signer: Signer::Validator(place), signature }];
    let transaction = Transaction { core, statements: vec![], signatures, authored: vec![] };
    let exit = hand_in(ledger, cbor::encode(&transaction), &transaction, wait, output).await?;
    if exit == Exit::Done {
        output.note("what the others voted for: chartseal ledger validators");
    }
    Ok(exit)
}

/// What the ledger would refuse is refused here, with what to do. Who is a validator now carries no possession.
fn check(genesis: &Genesis, current: &EpochRecord, mut members: Vec<Member>) -> Result<Vec<Member>, Failure> {
    for member in &mut members {
        let name = &member.name;
        if current.members.iter().any(|validator| validator.key == member.key) {
            member.possession = None;
            continue;
        }
        let Some(possession) = &member.possession else {
            let expected = "expected what chartseal ledger join printed where the validator runs";
            return Err(Failure::usage(format_args!("{name}: found a newcomer without possession, {expected}")));
        };
        let message = possession_to_sign(&genesis.chain_id(), current.epoch, &member.validator());
        if verify_signature(&member.key, &message, possession).is_err() {
            let expected = format!("expected one for this name, key and epoch {}: join again", current.epoch);
            return Err(Failure::usage(format_args!("{name}: found a possession that does not verify, {expected}")));
        }
    }
    let list: Vec<_> = members.iter().map(Member::validator).collect();
    match ballot::contradiction(&list) {
        Some(expected) => Err(Failure::usage(format_args!("members: expected {expected}"))),
        None => Ok(members),
    }
}

#[cfg(test)]
mod tests;
