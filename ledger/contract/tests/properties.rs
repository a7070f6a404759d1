//! What holds for every sequence of transactions: execution is deterministic, a refused transaction changes nothing, blocks
//! may be cut anywhere, and bytes from outside never panic.

#[path = "../../proof/tests/support/chain.rs"]
mod chain;
#[path = "support/ledger.rs"]
mod ledger;

use chain::{INSTITUTION, amended, anchor, bytes, gateway_key, institution_key, key, public, statement};
use ledger::{Ledger, RecordAccessDefaults, consent, revoke, signed, subject};
use ledger_contract::{AdmitError, State, StateError, admit, execute_block, signature_checks};
use ledger_proof::{AwsLc, Verifier};
use proptest::prelude::*;
use schemas::ballot::{Ballot, ConfirmSeat, Member, list_hash};
use schemas::block::TransactionBytes;
use schemas::cbor;
use schemas::id::{Digest, PublicKey, Signature, SubjectId};
use schemas::limits;
use schemas::transaction::{Basis, Body, Core, Guardian, Outcome, RecordAccess, Refusal, Signer, Transaction};

/// One of many small transactions, valid or not depending on what came before.
fn transaction(kind: u8, a: u8, b: u8) -> Transaction {
    let ledger = Ledger::new();
    let id = SubjectId([a % 2; 16]);
    let institution = (Signer::Institution(INSTITUTION), institution_key());
    let own = key(400 + u16::from(a % 2));
    let of = |body, signers: &[_]| {
        let valid_until = 50 + u64::from(b / 16);
        signed(&Core { chain: ledger.chain, valid_until, body }, signers)
    };
    match kind % 9 {
        0 => anchor(ledger.chain, 60, vec![statement(a % 4)]),
        1 => anchor(ledger.chain, 60, vec![statement(a % 4), statement(4 + b % 2)]),
        2 => anchor(ledger.chain, 60, vec![amended(&statement(a % 4))]),
        3 => of(subject(id, INSTITUTION, None, vec![]), &[institution]),
        4 => of(subject(id, INSTITUTION, Some(&own), vec![]), &[institution, (Signer::NewKey, own)]),
        5 if b.is_multiple_of(2) => of(consent(id, b % 4, 1 + u64::from(b / 4 % 3), Basis::Attested), &[institution]),
        5 => of(consent(id, b % 4, 1 + u64::from(b / 4 % 3), Basis::Signed), &[(Signer::Subject(id), own)]),
        6 if b.is_multiple_of(2) => of(revoke(id, b % 4), &[institution]),
        6 => of(revoke(id, b % 4), &[(Signer::Subject(id), own)]),
        7 => {
            // lists without newcomers, whose signatures are execution's own to verify
            let voter = u16::from(a % 4);
            let mut members: Vec<_> =
                (0..4_u16).map(|i| Member { name: format!("v{i}"), key: public(&key(i)), possession: None }).collect();
            members.rotate_left(usize::from(b % 3));
            let epoch = u64::from(b / 128);
            if b.is_multiple_of(5) {
                let list: Vec<_> = members.iter().map(Member::validator).collect();
                let body = ConfirmSeat { epoch, members: list_hash(&list), key: public(&key(voter)) };
                return of(Body::ConfirmSeat(body), &[(Signer::NewKey, key(voter))]);
            }
            of(Body::Ballot(Ballot { epoch, voter, members }), &[(Signer::Validator(voter), key(voter))])
        }
        _ => {
            let first = u64::from(a % 3);
            let previous = if first == 0 { Digest::ZERO } else { Digest([1; 32]) };
            let body = RecordAccess { first, previous, ..RecordAccess::defaults() };
            of(Body::RecordAccess(body), &[(Signer::Gateway(public(&gateway_key())), gateway_key())])
        }
    }
}

fn transactions() -> impl Strategy<Value = Vec<Transaction>> {
    let one = (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(kind, a, b)| transaction(kind, a, b));
    proptest::collection::vec(one, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn executing_twice_gives_the_same_and_refusals_change_nothing(txs in transactions()) {
        let all: Vec<_> = txs.iter().map(bytes).collect();
        let (mut once, mut again) = (Ledger::new(), Ledger::new());
        let (first, second) = (once.raw_block(&all), again.raw_block(&all));
        prop_assert_eq!(&first, &second);
        // without the refused ones the changes are the same
        let accepted: Vec<_> = first
            .entries
            .iter()
            .zip(&all)
            .filter(|(entry, _)| entry.outcome == Outcome::Accepted)
            .map(|(_, bytes)| bytes.clone())
            .collect();
        let mut only = Ledger::new();
        let third = only.raw_block(&accepted);
        prop_assert!(third.entries.iter().all(|entry| entry.outcome == Outcome::Accepted));
        prop_assert_eq!(first.changes, third.changes);
    }

    #[test]
    fn no_transaction_is_accepted_twice(txs in transactions()) {
        let twice: Vec<_> = txs.iter().chain(&txs).map(bytes).collect();
        let entries = Ledger::new().raw_block(&twice).entries;
        let accepted = entries.iter().filter(|entry| entry.outcome == Outcome::Accepted);
        let mut ids: Vec<_> = accepted.map(|entry| entry.transaction).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), count);
    }

    #[test]
    fn prefetched_signatures_are_the_ones_that_execution_asks_for(txs in transactions()) {
        let mut ledger = Ledger::new();
        for tx in txs {
            let known = Known(signature_checks(&ledger.state, &tx).expect("a map"));
            let time = ledger.time_at(ledger.height + 1);
            let block = [bytes(&tx)];
            let height = ledger.height + 1;
            let with = execute_block(&ledger.state, &ledger.chain, height, time, &block, &known).expect("a map");
            prop_assert_eq!(with, ledger.raw_block(&block));
        }
    }

    #[test]
    fn damaged_bytes_never_panic_and_are_never_accepted(
        kind in any::<u8>(), a in any::<u8>(), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let mut ledger = Ledger::new();
        ledger.register(SubjectId([a % 2; 16]), None, vec![]);
        let mut damaged = cbor::encode(&transaction(kind, a, 0));
        let at = at.index(damaged.len());
        damaged[at] ^= 1 << bit;
        let entry = ledger.raw_block(&[TransactionBytes(damaged.clone().into())]).entries[0].clone();
        // valid_until and the id of a statements' transaction are not under the institution's signature (formats.md §3)
        let unsigned = cbor::decode::<Transaction>(&damaged)
            .is_ok_and(|tx| tx.core.body.statements_root().is_some() && tx.core.valid_until != 60);
        prop_assert!(entry.outcome != Outcome::Accepted || unsigned);
    }

    #[test]
    fn arbitrary_bytes_are_malformed(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let entry = Ledger::new().raw_block(&[TransactionBytes(bytes.into())]).entries[0].clone();
        prop_assert_eq!(entry.outcome, Outcome::Refused(Refusal::Malformed));
        prop_assert_eq!(entry.transaction, entry.signed);
    }
}

/// A verifier that only knows what was verified before, as a node's cache does.
struct Known(Vec<ledger_contract::SignatureCheck>);

impl Verifier for Known {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        let asked =
            |c: &&ledger_contract::SignatureCheck| c.key == *key && c.message == message && c.signature == *signature;
        self.0.iter().find(asked).is_some_and(|c| AwsLc.verify(&c.key, &c.message, &c.signature))
    }
}

#[test]
fn a_store_that_fails_is_no_verdict() {
    struct Broken;
    impl State for Broken {
        fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
            Err(StateError::Store("disk".into()))
        }
    }
    struct Damaged;
    impl State for Damaged {
        fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
            Ok(Some(vec![0xff]))
        }
    }
    let ledger = Ledger::new();
    let block = [bytes(&anchor(ledger.chain, 60, vec![statement(1)]))];
    let broken = execute_block(&Broken, &ledger.chain, 1, 1, &block, &AwsLc);
    assert_eq!(broken, Err(StateError::Store("disk".into())));
    let damaged = execute_block(&Damaged, &ledger.chain, 1, 1, &block, &AwsLc);
    assert!(matches!(damaged, Err(StateError::Corrupt { .. })));
}

#[test]
fn admission_refuses_what_no_state_can_make_valid() {
    let chain = Ledger::new().chain;
    let good = anchor(chain, 60, vec![statement(1), statement(2)]);
    assert_eq!(admit(&cbor::encode(&good), &chain), Ok(good.clone()));
    let refused = |change: &dyn Fn(&mut Transaction)| {
        let mut tx = good.clone();
        change(&mut tx);
        admit(&cbor::encode(&tx), &chain).expect_err("malformed")
    };
    assert!(matches!(refused(&|tx| tx.core.chain.0[0] ^= 1), AdmitError::OtherChain { .. }));
    assert!(matches!(admit(&[0; limits::TRANSACTION_BYTES_MAX + 1], &chain), Err(AdmitError::Size { .. })));
    assert!(matches!(admit(&[cbor::encode(&good), vec![0]].concat(), &chain), Err(AdmitError::Encoding(_))));
    let changes: [&dyn Fn(&mut Transaction); 9] = [
        &|tx| tx.statements.swap(0, 1),
        &|tx| tx.statements.truncate(1),
        &|tx| tx.statements[0].version = 2,
        &|tx| tx.statements[0].institution = chain::OTHER_INSTITUTION,
        &|tx| tx.statements[1] = tx.statements[0].clone(),
        &|tx| tx.signatures.clear(),
        &|tx| tx.signatures.push(tx.signatures[0].clone()),
        &|tx| {
            let signature = tx.signatures[0].signature;
            let practitioner = schemas::id::PractitionerId([1; 16]);
            tx.authored = vec![schemas::transaction::Authored { statement: 2, practitioner, signature }];
        },
        &|tx| {
            let signature = tx.signatures[0].signature;
            let practitioner = schemas::id::PractitionerId([1; 16]);
            let one = schemas::transaction::Authored { statement: 0, practitioner, signature };
            tx.authored = vec![one.clone(), one];
        },
    ];
    for (at, change) in changes.iter().enumerate() {
        assert!(matches!(refused(change), AdmitError::Contradiction { .. }), "change {at}");
    }
    // twice the same case, with the right root
    let twice = anchor(chain, 60, vec![statement(1), statement(1)]);
    assert!(matches!(admit(&cbor::encode(&twice), &chain), Err(AdmitError::Contradiction { .. })));
    let none = anchor(chain, 60, vec![]);
    assert!(matches!(admit(&cbor::encode(&none), &chain), Err(AdmitError::Contradiction { .. })));
    let many = anchor(chain, 60, (0..=100).map(statement).collect());
    assert!(matches!(admit(&cbor::encode(&many), &chain), Err(AdmitError::Contradiction { .. })));
    let most = anchor(chain, 60, (0..100).map(statement).collect());
    assert!(admit(&cbor::encode(&most), &chain).is_ok(), "{} bytes", cbor::encode(&most).len());
}

#[test]
fn bodies_are_bounded() {
    let ledger = Ledger::new();
    let by = [(Signer::Institution(INSTITUTION), institution_key())];
    let guardians = |n: u16| (0..n).map(|i| Guardian { key: public(&key(700 + i)), expires: 1 }).collect::<Vec<_>>();
    let check = |body: Body| admit(&cbor::encode(&ledger.sign(body, &by)), &ledger.chain);
    let patient = SubjectId([1; 16]);
    assert!(check(subject(patient, INSTITUTION, None, guardians(8))).is_ok());
    assert!(check(subject(patient, INSTITUTION, None, guardians(9))).is_err());
    let twice = [guardians(1), guardians(1)].concat();
    assert!(check(subject(patient, INSTITUTION, None, twice)).is_err());
    assert!(check(subject(patient, INSTITUTION, Some(&key(700)), guardians(1))).is_err(), "its own guardian");
    let Body::GrantConsent(mut grant) = consent(patient, 1, 1, Basis::Attested) else { panic!("a grant") };
    (grant.from, grant.until) = (Some(5), Some(5));
    assert!(check(Body::GrantConsent(grant)).is_err());
    let access = |count, inline: usize, first, min, max| {
        let break_glass = vec![Digest([1; 32]); inline];
        let heights = RecordAccess { height_min: min, height_max: max, ..RecordAccess::defaults() };
        check(Body::RecordAccess(RecordAccess { first, count, break_glass, ..heights }))
    };
    assert!(access(4096, 64, 0, 1, 1).is_ok());
    for bad in [
        access(0, 0, 0, 1, 1),
        access(4097, 0, 0, 1, 1),
        access(4096, 65, 0, 1, 1),
        access(1, 2, 0, 1, 1),
        access(1, 0, u64::MAX, 1, 1),
        access(1, 0, 0, 2, 1),
    ] {
        assert!(bad.is_err());
    }
}
