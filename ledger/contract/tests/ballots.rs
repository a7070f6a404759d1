//! Who the validators of the next epoch are: every rule of a ballot from both sides, what decides, and from which height on.

#[path = "../../proof/tests/support/chain.rs"]
mod chain;
#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/voting.rs"]
mod voting;

use chain::{key, public, sign};
use ledger::Ledger;
use ledger_contract::{
    cast_ballot, elected, epoch_at, epoch_record, evidence, newest_epoch, seal, seat, transaction_height, validator_key,
};
use schemas::ballot::{Ballot, Member, possession_to_sign};
use schemas::block::{Phase, ValidatorSignature, Vote, quorum};
use schemas::evidence::Conflict;
use schemas::genesis::Validator;
use schemas::id::Digest;
use schemas::limits;
use schemas::pbft::SignedVote;
use schemas::state::EpochRecord;
use schemas::transaction::{Body, Refusal, Signer};
use voting::{ACCEPTED, confirm, confirm_all, current, members, refused, signed_ballot, validator, vote};

/// As many validators of now as it takes vote for these, as many of these as it takes are there, then the seal passes.
fn change(ledger: &mut Ledger, seeds: &[u16]) -> EpochRecord {
    let now = current(ledger);
    let of = |member: &Validator| member.name[1..].parse::<u16>().expect("v and its seed");
    for voter in &now.members[..quorum(now.members.len())] {
        assert_eq!(seal(&ledger.state, now.epoch).expect("readable"), None);
        assert_eq!(vote(ledger, of(voter), seeds), ACCEPTED);
    }
    confirm_all(ledger, seeds);
    let sealed = seal(&ledger.state, now.epoch).expect("readable").expect("decided");
    ledger.height = sealed.at;
    assert_eq!(current(ledger), sealed.next);
    sealed.next
}

#[test]
fn a_genesis_is_epoch_0() {
    let ledger = Ledger::new();
    let genesis = epoch_record(&ledger.state, 0).expect("readable").expect("written");
    let expected = EpochRecord { epoch: 0, first: 1, members: (0..4).map(validator).collect(), decided_at: 0 };
    assert_eq!((genesis.previous_seal(), &genesis), (0, &expected));
    for height in [0, 1, u64::MAX] {
        assert_eq!(epoch_at(&ledger.state, height).expect("readable"), expected);
    }
    assert_eq!(epoch_record(&ledger.state, 1).expect("readable"), None);
    assert_eq!(seal(&ledger.state, 0).expect("readable"), None);
    assert_eq!(seal(&ledger.state, u64::MAX).expect("readable"), None);
    assert_eq!(seat(&ledger.state, &public(&key(3))).expect("readable"), Some(0));
}

#[test]
fn a_quorum_of_both_lists_decides_and_the_epoch_ends_at_its_seal() {
    let mut ledger = Ledger::new();
    let list = [0, 1, 2, 3, 4, 5, 6];
    assert_eq!(vote(&mut ledger, 0, &list), ACCEPTED);
    assert_eq!(vote(&mut ledger, 3, &list), ACCEPTED);
    assert_eq!(seal(&ledger.state, 0).expect("readable"), None, "two of four");
    assert_eq!(elected(&ledger.state, &current(&ledger)).expect("readable"), None);
    assert_eq!(vote(&mut ledger, 1, &list), ACCEPTED);
    assert_eq!(elected(&ledger.state, &current(&ledger)).expect("readable"), Some(list.map(validator).to_vec()));
    // four that stay and none that comes: they are no quorum of seven
    for member in [6, 0, 3, 1] {
        assert_eq!(confirm(&mut ledger, &list, member), ACCEPTED);
    }
    assert_eq!(seal(&ledger.state, 0).expect("readable"), None, "four of seven");
    assert_eq!(confirm(&mut ledger, &list, 5), ACCEPTED);
    let sealed = seal(&ledger.state, 0).expect("readable").expect("decided");
    let next = EpochRecord { epoch: 1, first: 257, members: list.map(validator).to_vec(), decided_at: 8 };
    assert_eq!((sealed.at, &sealed.next), (256, &next));
    assert_eq!(newest_epoch(&ledger.state).expect("readable"), 1);
    // nothing changes before the first height of the next epoch
    for (height, epoch) in [(0, 0), (9, 0), (256, 0), (257, 1), (u64::MAX, 1)] {
        assert_eq!(epoch_at(&ledger.state, height).expect("readable").epoch, epoch, "height {height}");
    }
    for (index, seed) in (0..).zip(list) {
        assert_eq!(validator_key(&ledger.state, 1, index).expect("readable"), Some(public(&key(seed))));
        assert_eq!(seat(&ledger.state, &public(&key(seed))).expect("readable"), Some(u64::from(seed > 3)));
    }
    // the ballots that decided stay in the state, for people to see
    let cast = cast_ballot(&ledger.state, 0, 3).expect("readable").expect("cast");
    assert_eq!((cast.members, cast.height), (next.members, 2));
    // decided is decided, until the epoch is over
    let decided = ledger.state.clone();
    assert_eq!(vote(&mut ledger, 2, &list), refused(Refusal::ChangeDecided));
    assert_eq!(confirm(&mut ledger, &list, 4), refused(Refusal::ChangeDecided));
    ledger.height = 255;
    assert_eq!(vote(&mut ledger, 2, &[0, 1, 2, 3, 9]), refused(Refusal::ChangeDecided));
    assert_eq!(ledger.state, decided);
    // at 257 the new ones vote, also for the list that just came to be without them
    assert_eq!(vote(&mut ledger, 6, &[0, 1, 2, 4, 5, 6]), ACCEPTED);
}

/// One less than a quorum never decides, a quorum always does, for every number of validators up to ten.
#[test]
fn it_takes_the_quorum_of_the_validators_of_now() {
    let mut ledger = Ledger::new();
    for n in 5..=10_u16 {
        let seeds: Vec<_> = (0..n).collect();
        assert_eq!(change(&mut ledger, &seeds).members.len(), usize::from(n));
    }
    for n in (4..=9_u16).rev() {
        let seeds: Vec<_> = (0..n).collect();
        assert_eq!(change(&mut ledger, &seeds).members.len(), usize::from(n));
    }
    assert_eq!(current(&ledger).epoch, 12);
}

#[test]
fn the_seal_is_a_window_away() {
    let first = |decided_at| EpochRecord::genesis(vec![]).next(vec![], decided_at).first;
    let window = limits::WATERMARK_WINDOW;
    for (decided_at, expected) in [(1, 257), (128, 257), (129, 513), (256, 513), (384, 513), (385, 769)] {
        assert_eq!(first(decided_at), expected, "decided at {decided_at}");
        assert!(expected > decided_at + window && (expected - 1).is_multiple_of(limits::EPOCH_INTERVAL));
    }
    assert_eq!((first(u64::MAX), first(u64::MAX - window)), (u64::MAX, u64::MAX), "no overflow at the end of time");
}

#[test]
fn a_voter_has_one_vote_the_newest() {
    let mut ledger = Ledger::new();
    let (good, bad) = ([0, 1, 2, 3, 4], [0, 1, 2, 3, 9]);
    assert_eq!(vote(&mut ledger, 0, &bad), ACCEPTED);
    assert_eq!(vote(&mut ledger, 1, &bad), ACCEPTED);
    // the same again is still one vote
    for _ in 0..3 {
        assert_eq!(vote(&mut ledger, 1, &bad), ACCEPTED);
    }
    assert_eq!(seal(&ledger.state, 0).expect("readable"), None);
    // one changes its mind: two for `bad` are one now
    assert_eq!(vote(&mut ledger, 0, &good), ACCEPTED);
    assert_eq!(vote(&mut ledger, 2, &bad), ACCEPTED);
    assert_eq!(seal(&ledger.state, 0).expect("readable"), None);
    // one takes its vote back, which it can once
    assert_eq!(vote(&mut ledger, 1, &[0, 1, 2, 3]), ACCEPTED);
    assert_eq!(cast_ballot(&ledger.state, 0, 1).expect("readable"), None);
    assert_eq!(vote(&mut ledger, 1, &[0, 1, 2, 3]), refused(Refusal::Unchanged));
    assert_eq!(vote(&mut ledger, 3, &bad), ACCEPTED);
    assert_eq!(seal(&ledger.state, 0).expect("readable"), None);
    assert_eq!(vote(&mut ledger, 3, &good), ACCEPTED);
    assert_eq!(vote(&mut ledger, 1, &good), ACCEPTED);
    confirm_all(&mut ledger, &good);
    let sealed = seal(&ledger.state, 0).expect("readable").expect("decided");
    assert_eq!(sealed.next.members, good.map(validator));
}

/// Order, names and keys are all part of the list.
#[test]
fn votes_for_lists_that_differ_do_not_add_up() {
    let mut ledger = Ledger::new();
    assert_eq!(vote(&mut ledger, 0, &[0, 1, 2, 4]), ACCEPTED);
    assert_eq!(vote(&mut ledger, 1, &[0, 1, 4, 2]), ACCEPTED);
    let renamed = Validator { name: "four".into(), key: public(&key(4)) };
    let mut list = members(&ledger, &[0, 1, 2, 4]);
    list[3].name.clone_from(&renamed.name);
    list[3].possession = Some(sign(&key(4), &possession_to_sign(&ledger.chain, 0, &renamed)));
    let tx = signed_ballot(&mut ledger, 2, 2, list);
    assert_eq!(ledger.execute(&tx), ACCEPTED);
    assert_eq!(vote(&mut ledger, 3, &[0, 1, 2, 3, 4]), ACCEPTED);
    assert_eq!(seal(&ledger.state, 0).expect("readable"), None);
    // a mere reordering is a change too
    for voter in 0..3 {
        assert_eq!(vote(&mut ledger, voter, &[3, 2, 1, 0]), ACCEPTED);
    }
    confirm_all(&mut ledger, &[3, 2, 1, 0]);
    let sealed = seal(&ledger.state, 0).expect("readable").expect("decided");
    assert_eq!(sealed.next.members, [3, 2, 1, 0].map(validator));
}

#[test]
fn only_a_validator_of_now_votes_with_its_own_key() {
    let mut ledger = Ledger::new();
    let list = members(&ledger, &[0, 1, 2, 3, 4]);
    let out_of_range = signed_ballot(&mut ledger, 4, 4, list.clone());
    assert_eq!(ledger.execute(&out_of_range), refused(Refusal::UnknownValidator), "not a validator yet");
    for (index, seed) in [(0, 1), (0, 4), (3, 100)] {
        let tx = signed_ballot(&mut ledger, index, seed, list.clone());
        assert_eq!(ledger.execute(&tx), refused(Refusal::Signature), "{index} with the key of {seed}");
    }
    // the voter signs, nobody else, and for nobody else
    let body = Ballot { epoch: 0, voter: 0, members: list.clone() };
    let by = |index: u16| (Signer::Validator(index), key(index));
    for signers in [vec![by(1)], vec![by(0), by(1)], vec![(Signer::NewKey, key(0))]] {
        let tx = ledger.sign(Body::Ballot(body.clone()), &signers);
        assert_eq!(ledger.execute(&tx), refused(Refusal::Signature), "{signers:?}");
    }
    // a validator signs nothing but ballots
    let stranger = ledger.sign(chain_subject(), &[by(0)]);
    assert_eq!(ledger.execute(&stranger), refused(Refusal::Signature));
    let unsigned = ledger.sign(Body::Ballot(body.clone()), &[]);
    assert_eq!(ledger.execute(&unsigned), refused(Refusal::Malformed));
    // of another epoch, to come or over
    let later = ledger.sign(Body::Ballot(Ballot { epoch: 1, ..body }), &[by(0)]);
    assert_eq!(ledger.execute(&later), refused(Refusal::OtherEpoch));
    let early = signed_ballot(&mut ledger, 3, 3, list);
    change(&mut ledger, &[0, 1, 2, 4]);
    assert_eq!(ledger.execute(&early), refused(Refusal::Expired), "a ballot of epoch 0");
    let over = Ballot { epoch: 0, voter: 0, members: members(&ledger, &[0, 1, 2, 5]) };
    ledger.valid_until = ledger.height + 10;
    let over = ledger.sign(Body::Ballot(over), &[by(0)]);
    assert_eq!(ledger.execute(&over), refused(Refusal::OtherEpoch));
    // who was replaced has no voice: its place is another one's
    let list = members(&ledger, &[0, 1, 2, 5]);
    let replaced = signed_ballot(&mut ledger, 3, 3, list.clone());
    assert_eq!(ledger.execute(&replaced), refused(Refusal::Signature));
    let replacing = signed_ballot(&mut ledger, 3, 4, list);
    assert_eq!(ledger.execute(&replacing), ACCEPTED);
}

fn chain_subject() -> Body {
    ledger::subject(schemas::id::SubjectId([1; 16]), chain::INSTITUTION, None, vec![])
}

#[test]
fn newcomers_hold_their_keys_and_want_this_seat() {
    let mut ledger = Ledger::new();
    let honest = members(&ledger, &[0, 1, 2, 3, 4]);
    let newcomer = validator(4);
    let other_name = Validator { name: "other".into(), ..newcomer.clone() };
    let wrong = [
        None,
        Some(sign(&key(3), &possession_to_sign(&ledger.chain, 0, &newcomer))),
        Some(sign(&key(4), &possession_to_sign(&ledger.chain, 1, &newcomer))),
        Some(sign(&key(4), &possession_to_sign(&schemas::id::ChainId([1; 32]), 0, &newcomer))),
        Some(sign(&key(4), &possession_to_sign(&ledger.chain, 0, &other_name))),
        Some(sign(&key(4), &possession_to_sign(&ledger.chain, 0, &validator(3)))),
        Some(sign(&key(4), b"another message")),
    ];
    let before = ledger.state.clone();
    for (at, possession) in wrong.into_iter().enumerate() {
        let mut list = honest.clone();
        list[4].possession = possession;
        let tx = signed_ballot(&mut ledger, 0, 0, list);
        assert_eq!(ledger.execute(&tx), refused(Refusal::Possession), "possession {at}");
    }
    // one spelling: who is a validator now proves nothing
    let mut list = honest.clone();
    list[1].possession = Some(sign(&key(1), &possession_to_sign(&ledger.chain, 0, &validator(1))));
    let tx = signed_ballot(&mut ledger, 0, 0, list);
    assert_eq!(ledger.execute(&tx), refused(Refusal::Possession));
    assert_eq!(ledger.state, before);
    let tx = signed_ballot(&mut ledger, 0, 0, honest);
    assert_eq!(ledger.execute(&tx), ACCEPTED);
}

#[test]
fn a_key_that_left_never_returns() {
    let mut ledger = Ledger::new();
    // 3 is replaced: by another key of its own, say
    change(&mut ledger, &[0, 1, 2, 4]);
    assert_eq!(vote(&mut ledger, 0, &[0, 1, 2, 3]), refused(Refusal::KeyRetired));
    assert_eq!(vote(&mut ledger, 0, &[0, 1, 2, 4, 3]), refused(Refusal::KeyRetired));
    change(&mut ledger, &[0, 1, 2, 5]);
    for back in [3, 4] {
        assert_eq!(vote(&mut ledger, 0, &[0, 1, 2, 5, back]), refused(Refusal::KeyRetired));
    }
    // a key that was only voted for was nobody's
    assert_eq!(vote(&mut ledger, 0, &[0, 1, 2, 5, 6]), ACCEPTED);
    change(&mut ledger, &[0, 1, 2, 5, 7]);
    change(&mut ledger, &[0, 1, 2, 5, 7, 6]);
    assert_eq!(seat(&ledger.state, &public(&key(6))).expect("readable"), Some(4));
    assert_eq!(seat(&ledger.state, &public(&key(0))).expect("readable"), Some(0));
}

#[test]
fn lists_that_no_epoch_can_have_are_malformed() {
    let mut ledger = Ledger::new();
    let with = |ledger: &mut Ledger, change: &dyn Fn(&mut Vec<Member>)| {
        let mut list = members(ledger, &[0, 1, 2, 3, 4]);
        change(&mut list);
        let tx = signed_ballot(ledger, 0, 0, list);
        ledger.execute(&tx)
    };
    type Change = fn(&mut Vec<Member>);
    let changes: [(&str, Change); 9] = [
        ("three", |list| list.truncate(3)),
        ("none", Vec::clear),
        ("a key twice", |list| list[1].key = list[2].key),
        ("a name twice", |list| list[1].name = list[2].name.clone()),
        ("no name", |list| list[1].name.clear()),
        ("a long name", |list| list[1].name = "n".repeat(limits::VALIDATOR_NAME_MAX + 1)),
        ("a space", |list| list[1].name = "v 1".into()),
        ("a letter of elsewhere", |list| list[1].name = "v\u{e4}".into()),
        ("a path", |list| list[1].name = "../v1".into()),
    ];
    for (name, change) in changes {
        assert_eq!(with(&mut ledger, &change), refused(Refusal::Malformed), "{name}");
    }
    // a validator of now may get another name
    assert_eq!(with(&mut ledger, &|list| list[1].name = "n".repeat(limits::VALIDATOR_NAME_MAX)), ACCEPTED);
}

/// As many as there may be, all new, with the longest names: the ballot fits, one more does not.
#[test]
fn the_largest_list_fits() {
    let mut ledger = Ledger::new();
    let newcomers = |count: usize| -> Vec<Member> {
        (1_000..)
            .take(count)
            .map(|seed| {
                let member = Validator { name: format!("{seed:0>32}"), key: public(&key(seed)) };
                let possession = Some(sign(&key(seed), &possession_to_sign(&ledger.chain, 0, &member)));
                Member { name: member.name, key: member.key, possession }
            })
            .collect()
    };
    let (most, more) = (newcomers(limits::VALIDATORS_MAX), newcomers(limits::VALIDATORS_MAX + 1));
    let tx = signed_ballot(&mut ledger, 0, 0, most);
    assert_eq!(ledger.execute(&tx), ACCEPTED);
    let tx = signed_ballot(&mut ledger, 1, 1, more);
    assert_eq!(ledger.execute(&tx), refused(Refusal::Malformed));
}

#[test]
fn one_ballot_of_a_voter_in_a_block() {
    let mut ledger = Ledger::new();
    let (first, second) = (members(&ledger, &[0, 1, 2, 3, 4]), members(&ledger, &[0, 1, 2, 3, 5]));
    let back = members(&ledger, &[0, 1, 2, 3]);
    let block = [
        signed_ballot(&mut ledger, 0, 0, first.clone()),
        signed_ballot(&mut ledger, 0, 0, second),
        signed_ballot(&mut ledger, 0, 0, back),
        signed_ballot(&mut ledger, 1, 1, first.clone()),
        signed_ballot(&mut ledger, 2, 2, first.clone()),
        signed_ballot(&mut ledger, 3, 3, first),
    ];
    let too_many = refused(Refusal::TooMany);
    assert_eq!(ledger.block(&block), [ACCEPTED, too_many, too_many, ACCEPTED, ACCEPTED, ACCEPTED]);
    assert_eq!(transaction_height(&ledger.state, &block[1].id()).expect("readable"), None);
    // neither with newcomers' signatures that do not verify
    let forged = |ledger: &mut Ledger, newcomer| {
        let mut list = members(ledger, &[0, 1, 2, 3, newcomer]);
        let other = members(ledger, &[0, 1, 2, 3, newcomer + 1]);
        list.last_mut().expect("the newcomer").possession = other.last().expect("another").possession;
        signed_ballot(ledger, 2, 2, list)
    };
    let block = [forged(&mut ledger, 10), forged(&mut ledger, 12), forged(&mut ledger, 14)];
    assert_eq!(ledger.block(&block), [refused(Refusal::Possession), too_many, too_many]);
}

/// Evidence names its epoch: its key counts, whoever sits there now, before and after the epoch.
#[test]
fn validators_of_every_epoch_can_be_convicted() {
    let mut ledger = Ledger::new();
    change(&mut ledger, &[4, 1, 2, 3]);
    change(&mut ledger, &[5, 4, 1, 2]);
    let report = |ledger: &mut Ledger, epoch, index: u16, seed: u16| {
        let side = |label: u8| {
            let digest = Digest([label; 32]);
            let vote = Vote { chain: ledger.chain, epoch, view: 0, height: 7, phase: Phase::Commit, digest };
            let signature = sign(&key(seed), &vote.to_sign());
            SignedVote { vote, by: ValidatorSignature { validator: index, signature } }
        };
        let conflict = Conflict::of(&side(1), &side(2)).expect("a contradiction");
        ledger.valid_until = ledger.height + 10;
        let tx = ledger.sign(Body::ReportConflict(conflict), &[]);
        ledger.execute(&tx)
    };
    let holders = [[0, 1, 2, 3], [4, 1, 2, 3], [5, 4, 1, 2]];
    for (epoch, seeds) in (0..).zip(holders) {
        for (index, seed) in (0..).zip(seeds) {
            // of another one who sat there once, or sits elsewhere
            for other in (0..6).filter(|other| *other != seed) {
                assert_eq!(report(&mut ledger, epoch, index, other), refused(Refusal::Signature));
            }
            assert_eq!(report(&mut ledger, epoch, index, seed), ACCEPTED, "{seed} in epoch {epoch}");
            assert!(evidence(&ledger.state, epoch, index).expect("readable").is_some());
        }
        assert_eq!(report(&mut ledger, epoch, 4, 0), refused(Refusal::UnknownValidator));
    }
    assert_eq!(report(&mut ledger, 3, 0, 5), refused(Refusal::UnknownValidator), "nothing is decided of epoch 3");
}
