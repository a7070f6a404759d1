//! What validators say so that others follow them: ballots of a quorum of now, then the word of a quorum of the next that they are
//! there. A validator's name is `v` and the seed of its key.

use schemas::ballot::{Ballot, ConfirmSeat, Member, list_hash, possession_to_sign};
use schemas::block::quorum;
use schemas::cose::transaction_to_sign;
use schemas::genesis::Validator;
use schemas::id::{ChainId, Height};
use schemas::state::EpochRecord;
use schemas::transaction::{Body, Core, Signed, Signer, Transaction};

use crate::chain::{key, public, sign};

/// In the order in which they are executed, from the next height on.
pub fn change(chain: ChainId, current: &EpochRecord, seats: &[u16], height: Height) -> Vec<Transaction> {
    let epoch = current.epoch;
    let member = |seed: &u16| {
        let new = Validator { name: format!("v{seed}"), key: public(&key(*seed)) };
        let is_current = current.members.contains(&new);
        let possession = sign(&key(*seed), &possession_to_sign(&chain, epoch, &new));
        Member { possession: (!is_current).then_some(possession), name: new.name, key: new.key }
    };
    let members: Vec<Member> = seats.iter().map(member).collect();
    let signed = |body: Body, signer: Signer, seed: u16| {
        let core = Core { chain, valid_until: height + 100, body };
        let signature = sign(&key(seed), &transaction_to_sign(&chain, &core.id()));
        Transaction { core, statements: vec![], signatures: vec![Signed { signer, signature }], authored: vec![] }
    };
    let ballots = (0..).zip(&current.members).take(quorum(current.members.len())).map(|(voter, member)| {
        let seed = member.name[1..].parse().expect("v and its seed");
        signed(Body::Ballot(Ballot { epoch, voter, members: members.clone() }), Signer::Validator(voter), seed)
    });
    let list = list_hash(&members.iter().map(Member::validator).collect::<Vec<_>>());
    let confirmations = members.iter().zip(seats).take(quorum(members.len())).map(|(member, seed)| {
        signed(Body::ConfirmSeat(ConfirmSeat { epoch, members: list, key: member.key }), Signer::NewKey, *seed)
    });
    ballots.chain(confirmations).collect()
}
