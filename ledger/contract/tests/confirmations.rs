//! Who of the next epoch is there: every rule of a confirmation from both sides, and that a list whose members are not there never
//! comes into force.

#[path = "../../proof/tests/support/chain.rs"]
mod chain;
#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/voting.rs"]
mod voting;

use chain::{key, public};
use ledger::Ledger;
use ledger_contract::{confirmed, seal};
use schemas::ballot::{ConfirmSeat, list_hash};
use schemas::limits;
use schemas::transaction::{Body, Refusal, Signer};
use voting::{ACCEPTED, confirm, confirm_all, confirmation, current, refused, validator, vote};

#[test]
fn only_a_member_of_the_elected_list_confirms_with_its_own_key() {
    let mut ledger = Ledger::new();
    let list = [0, 1, 2, 4];
    assert_eq!(vote(&mut ledger, 0, &list), ACCEPTED);
    assert_eq!(vote(&mut ledger, 1, &list), ACCEPTED);
    assert_eq!(confirm(&mut ledger, &list, 4), refused(Refusal::NotElected), "two of four");
    assert_eq!(vote(&mut ledger, 2, &list), ACCEPTED);
    let before = ledger.state.clone();
    for (seeds, seed) in [([0, 1, 2, 5], 0), ([0, 1, 4, 2], 0), ([0, 1, 2, 3], 0), (list, 3), (list, 5)] {
        assert_eq!(confirm(&mut ledger, &seeds, seed), refused(Refusal::NotElected), "{seed} of {seeds:?}");
    }
    for signer in [0, 3, 5] {
        let tx = confirmation(&mut ledger, &list, 4, signer);
        assert_eq!(ledger.execute(&tx), refused(Refusal::Signature), "{signer} for 4");
    }
    // in no other role, and not unsigned
    let body = confirmation(&mut ledger, &list, 0, 0).core.body;
    let as_validator = ledger.sign(body.clone(), &[(Signer::Validator(0), key(0))]);
    assert_eq!(ledger.execute(&as_validator), refused(Refusal::Signature));
    let unsigned = ledger.sign(body.clone(), &[]);
    assert_eq!(ledger.execute(&unsigned), refused(Refusal::Malformed));
    let Body::ConfirmSeat(seat) = body else { panic!("what was made above") };
    let later = ledger.sign(Body::ConfirmSeat(ConfirmSeat { epoch: 1, ..seat }), &[(Signer::NewKey, key(0))]);
    assert_eq!(ledger.execute(&later), refused(Refusal::OtherEpoch));
    assert_eq!(ledger.state, before);
    // once is enough, and counts once
    assert_eq!(confirm(&mut ledger, &list, 4), ACCEPTED);
    for _ in 0..3 {
        assert_eq!(confirm(&mut ledger, &list, 4), refused(Refusal::Unchanged));
    }
    let expected = list_hash(&list.map(validator));
    let word = |height| confirmed(&ledger.state, 0, &public(&key(4)), height).expect("readable");
    assert_eq!(word(ledger.height), Some(expected));
    assert_eq!(word(ledger.height + limits::CONFIRMATION_HEIGHTS + 1), None, "too long ago");
    assert_eq!(confirm(&mut ledger, &list, 0), ACCEPTED);
    assert_eq!(seal(&ledger.state, 0).expect("readable"), None);
    assert_eq!(confirm(&mut ledger, &list, 2), ACCEPTED);
    assert!(seal(&ledger.state, 0).expect("readable").is_some());
}

/// Keys that nobody runs do not end the ledger: the epoch goes on, and its validators choose again.
#[test]
fn a_list_that_is_not_there_never_comes_into_force() {
    let mut ledger = Ledger::new();
    let (dead, good) = ([0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4]);
    for voter in 0..3 {
        assert_eq!(vote(&mut ledger, voter, &dead), ACCEPTED);
    }
    for member in 0..4 {
        assert_eq!(confirm(&mut ledger, &dead, member), ACCEPTED);
    }
    ledger.height = 2_000;
    assert_eq!((current(&ledger).epoch, seal(&ledger.state, 0).expect("readable")), (0, None));
    // what was said long ago does not count: one more is not enough, and who is still there says it again
    ledger.height += limits::CONFIRMATION_HEIGHTS;
    assert_eq!(confirm(&mut ledger, &dead, 5), ACCEPTED);
    assert_eq!(seal(&ledger.state, 0).expect("readable"), None);
    assert_eq!(confirm(&mut ledger, &dead, 0), ACCEPTED);
    // one vote less, and the last of them comes too late
    assert_eq!(vote(&mut ledger, 0, &good), ACCEPTED);
    assert_eq!(confirm(&mut ledger, &dead, 4), refused(Refusal::NotElected));
    // what was said of one list says nothing of another
    assert_eq!(vote(&mut ledger, 1, &good), ACCEPTED);
    assert_eq!(vote(&mut ledger, 3, &good), ACCEPTED);
    assert_eq!(seal(&ledger.state, 0).expect("readable"), None);
    confirm_all(&mut ledger, &good);
    assert_eq!(seal(&ledger.state, 0).expect("readable").expect("decided").next.members, good.map(validator));
}
