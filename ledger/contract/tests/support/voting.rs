//! What validators say about the next epoch: ballots and confirmations, each signed by the key of a seed.
#![allow(dead_code, reason = "each test binary uses its part")]

use ledger_contract::{epoch_at, seal};
use schemas::ballot::{Ballot, ConfirmSeat, Member, list_hash, possession_to_sign};
use schemas::block::quorum;
use schemas::genesis::Validator;
use schemas::state::EpochRecord;
use schemas::transaction::{Body, Outcome, Refusal, Signer, Transaction};

use crate::chain::{key, public, sign};
use crate::ledger::Ledger;

pub const ACCEPTED: Outcome = Outcome::Accepted;

pub const fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused(refusal)
}

/// The validator `v<seed>`.
pub fn validator(seed: u16) -> Validator {
    Validator { name: format!("v{seed}"), key: public(&key(seed)) }
}

/// What a ballot of the current epoch says of these seeds: possession where it is needed.
pub fn members(ledger: &Ledger, seeds: &[u16]) -> Vec<Member> {
    let current = current(ledger);
    let of = |seed: &u16| {
        let new = validator(*seed);
        let is_current = current.members.iter().any(|member| member.key == new.key);
        let possession = sign(&key(*seed), &possession_to_sign(&ledger.chain, current.epoch, &new));
        Member { possession: (!is_current).then_some(possession), name: new.name, key: new.key }
    };
    seeds.iter().map(of).collect()
}

/// The epoch of the next block.
pub fn current(ledger: &Ledger) -> EpochRecord {
    epoch_at(&ledger.state, ledger.height + 1).expect("readable")
}

/// A ballot of the voter at `index`, signed with the key of `seed`, valid for long.
pub fn signed_ballot(ledger: &mut Ledger, index: u16, seed: u16, members: Vec<Member>) -> Transaction {
    // another `valid_until` each time: the same vote again is another transaction
    ledger.valid_until = ledger.valid_until.max(ledger.height + 100) + 1;
    let body = Ballot { epoch: current(ledger).epoch, voter: index, members };
    ledger.sign(Body::Ballot(body), &[(Signer::Validator(index), key(seed))])
}

/// The validator of this seed votes for these, one block later.
pub fn vote(ledger: &mut Ledger, seed: u16, seeds: &[u16]) -> Outcome {
    let place = current(ledger).members.iter().position(|member| *member == validator(seed)).expect("a validator");
    let members = members(ledger, seeds);
    let tx = signed_ballot(ledger, u16::try_from(place).expect("few"), seed, members);
    ledger.execute(&tx)
}

/// The member of this seed takes its seat in the list of these, signed with the key of another seed, if that is given.
pub fn confirmation(ledger: &mut Ledger, seeds: &[u16], seed: u16, signer: u16) -> Transaction {
    ledger.valid_until = ledger.valid_until.max(ledger.height + 100) + 1;
    let list: Vec<_> = seeds.iter().copied().map(validator).collect();
    let (epoch, key_of) = (current(ledger).epoch, public(&key(seed)));
    let body = ConfirmSeat { epoch, members: list_hash(&list), key: key_of };
    ledger.sign(Body::ConfirmSeat(body), &[(Signer::NewKey, key(signer))])
}

/// The same, one block later.
pub fn confirm(ledger: &mut Ledger, seeds: &[u16], seed: u16) -> Outcome {
    let tx = confirmation(ledger, seeds, seed, seed);
    ledger.execute(&tx)
}

/// As many members of these as it takes say that they are there.
pub fn confirm_all(ledger: &mut Ledger, seeds: &[u16]) {
    let epoch = current(ledger).epoch;
    for &seed in &seeds[..quorum(seeds.len())] {
        assert_eq!(seal(&ledger.state, epoch).expect("readable"), None);
        assert_eq!(confirm(ledger, seeds, seed), ACCEPTED);
    }
}
