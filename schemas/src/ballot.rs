//! Ballots: how the validators of an epoch decide who the next one's are (formats.md §3 and §4, frozen by
//! `schemas/wire/transactions.md`). A ballot names the whole list of members, so adding, removing and another key are all
//! "another list". Then a quorum of those who are named confirms that they are there: a list of keys that nobody runs must not
//! end the ledger. What decides is in `ledger-contract`; here is what is signed and counted.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::block::{Epoch, ValidatorIndex, quorum};
use crate::cbor::Parts;
use crate::cose;
use crate::genesis::Validator;
use crate::id::{ChainId, Digest, Height, PublicKey, Signature};
use crate::limits;

/// A validator's vote for the members of the next epoch. Its newest one counts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ballot {
    /// The epoch that is to end.
    #[n(0)]
    pub epoch: Epoch,
    /// Who votes: index in that epoch.
    #[n(1)]
    pub voter: ValidatorIndex,
    /// All validators of the next epoch, in order of index. Those of now in their order: the voter takes its vote back.
    #[n(2)]
    pub members: Vec<Member>,
}

/// A validator of the next epoch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct Member {
    /// Its name for people (`is_name`).
    #[n(0)]
    pub name: String,
    /// Key that signs votes and whose certificate opens connections.
    #[n(1)]
    pub key: PublicKey,
    /// Signature of the key over `possession_to_sign`: there exactly when the key is not of the epoch that is to end.
    #[n(2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub possession: Option<Signature>,
}

impl Member {
    /// What stays of it in the next epoch.
    pub fn validator(&self) -> Validator {
        Validator { name: self.name.clone(), key: self.key }
    }
}

impl Ballot {
    /// The list that it names.
    pub fn validators(&self) -> Vec<Validator> {
        self.members.iter().map(Member::validator).collect()
    }
}

/// A member of the list that a quorum voted for says that it follows this chain and takes its seat. Signed by its own key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ConfirmSeat {
    /// The epoch that is to end.
    #[n(0)]
    pub epoch: Epoch,
    /// Hash of the list (`list_hash`).
    #[n(1)]
    pub members: Digest,
    /// Whose seat: a key of the list, of a validator of now or a newcomer.
    #[n(2)]
    pub key: PublicKey,
}

/// The list that a quorum of so many validators names, of the lists of their newest ballots.
pub fn elected(mut cast: Vec<Vec<Validator>>, validators: usize) -> Option<Vec<Validator>> {
    cast.sort_unstable();
    let mut lists = cast.chunk_by(|one, other| one == other);
    lists.find(|list| list.len() >= quorum(validators)).and_then(|list| list.first()).cloned()
}

/// The name of a list of members: H("cs1/members" ‖ list).
pub fn list_hash(members: &[Validator]) -> Digest {
    Parts::new("cs1/members").part(&members).hash()
}

/// Whether people and configurations can use it as a validator's name: letters, digits, `-`, at most `VALIDATOR_NAME_MAX`.
pub fn is_name(name: &str) -> bool {
    (1..=limits::VALIDATOR_NAME_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// What stops a list from being an epoch's; `None` when it can be one: enough members, proper names, every name and key once.
pub fn contradiction(members: &[Validator]) -> Option<&'static str> {
    let mut names: Vec<_> = members.iter().map(|member| &member.name).collect();
    let mut keys: Vec<_> = members.iter().map(|member| member.key).collect();
    names.sort_unstable();
    keys.sort_unstable();
    if !(limits::VALIDATORS_MIN..=limits::VALIDATORS_MAX).contains(&members.len()) {
        Some("4 to 64 members")
    } else if !names.iter().all(|name| is_name(name)) {
        Some("names of at most 32 letters, digits and -")
    } else if names.windows(2).any(|pair| pair[0] == pair[1]) || keys.windows(2).any(|pair| pair[0] == pair[1]) {
        Some("every name and key once")
    } else {
        None
    }
}

/// What the key of a newcomer signs: that it is held, and wants this seat after this epoch of this chain.
pub fn possession_to_sign(chain: &ChainId, epoch: Epoch, member: &Validator) -> Vec<u8> {
    let payload = Parts::new("cs1/seat").part(&epoch).part(member).finish();
    cose::sig_structure(chain.as_bytes(), &payload)
}

/// The last height of an epoch whose end was decided at a height: the first multiple of `EPOCH_INTERVAL` that is a window
/// away, so that everybody has executed the decision before anybody proposes the seal.
pub const fn seal_height(decided_at: Height) -> Height {
    match decided_at.saturating_add(limits::WATERMARK_WINDOW).checked_next_multiple_of(limits::EPOCH_INTERVAL) {
        Some(height) => height,
        None => Height::MAX,
    }
}
