//! Forged view changes and new views: certificates that prove nothing, checkpoints that nobody attested, new views that hold
//! anything else than what follows from their view changes.

use ledger_core::{ChangeError, Sign, VerifiedNewView, VerifiedViewChange};
use schemas::block::{Batch, Phase, ValidatorIndex, ValidatorSignature};
use schemas::id::Digest;
use schemas::limits;
use schemas::view::{Checkpoint, NewView, PreparedCertificate, SignedViewChange, ViewChange};

use crate::network::{CHAIN, Faults, Mock, Network, is_signed};

const QUIET: Faults = Faults { loss: 0, duplication: 0, delay_ms: 3 };

pub fn change_for(view: u64, checkpoint: Checkpoint, prepared: Vec<PreparedCertificate>) -> ViewChange {
    ViewChange { chain: CHAIN, epoch: 0, view, checkpoint, prepared }
}

pub fn by_validator(validator: ValidatorIndex, change: ViewChange) -> SignedViewChange {
    let by = ValidatorSignature { validator, signature: Mock(validator).sign(&change.to_sign()) };
    SignedViewChange { change, by }
}

/// prepared(view, height) of four: the primary's pre-prepare and these prepares.
fn prepared(view: u64, height: u64, by: &[ValidatorIndex]) -> PreparedCertificate {
    let primary = Mock((view % 4) as ValidatorIndex);
    let nothing = Mock(0).sign(b"");
    let digest = Digest([view as u8 + 1; 32]);
    let mut out = PreparedCertificate { view, height, digest, pre_prepare: nothing, prepares: vec![] };
    out.pre_prepare = primary.sign(&out.vote(CHAIN, 0, Phase::PrePrepare).to_sign());
    let bytes = out.vote(CHAIN, 0, Phase::Prepare).to_sign();
    out.prepares = by.iter().map(|&v| ValidatorSignature { validator: v, signature: Mock(v).sign(&bytes) }).collect();
    out
}

#[test]
fn forged_sets_of_prepared_certificates_are_refused() {
    let network = Network::new(4, 1, QUIET);
    let config = network.config(3);
    let genesis = || Checkpoint::genesis(&CHAIN);
    let check =
        |change: ViewChange| VerifiedViewChange::check(&config, by_validator(2, change), &is_signed).map(|_| ());
    let good = || prepared(0, 5, &[1, 2]);
    assert_eq!(check(change_for(1, genesis(), vec![good()])), Ok(()));
    let alter = |with: &dyn Fn(&mut PreparedCertificate)| {
        let mut altered = good();
        with(&mut altered);
        check(change_for(1, genesis(), vec![altered]))
    };
    let refused = Err(ChangeError::Prepared);
    assert_eq!(alter(&|c| c.prepares.truncate(1)), refused, "too few");
    // a new view must fit a frame: nobody may fill it with what proves nothing more
    assert_eq!(alter(&|c| *c = prepared(0, 5, &[1, 2, 3])), refused, "more than are needed");
    assert_eq!(alter(&|c| c.prepares[1] = c.prepares[0]), refused, "one signer twice");
    assert_eq!(alter(&|c| c.prepares.reverse()), refused, "unsorted");
    assert_eq!(alter(&|c| c.digest = Digest([9; 32])), refused, "another digest");
    assert_eq!(alter(&|c| c.height = 6), refused, "another height");
    assert_eq!(alter(&|c| c.prepares[1].validator = 3), refused, "a borrowed signature");
    assert_eq!(alter(&|c| c.pre_prepare = c.prepares[0].signature), refused, "no pre-prepare of the primary");
    assert_eq!(alter(&|c| *c = prepared(0, 5, &[0, 1])), refused, "the primary counts once");
    assert_eq!(alter(&|c| *c = prepared(1, 5, &[0, 2])), refused, "prepared in the view that is wanted");
    assert_eq!(alter(&|c| *c = prepared(0, 0, &[1, 2])), refused, "not above the checkpoint");
    let far = limits::OPEN_HEIGHTS_MAX + 1;
    assert_eq!(alter(&|c| *c = prepared(0, far, &[1, 2])), refused, "beyond what may be open");
    assert_eq!(check(change_for(1, genesis(), vec![good(), good()])), refused, "a height twice");
    assert_eq!(check(change_for(0, genesis(), vec![])), Err(ChangeError::View), "nobody changes to view 0");
    let mut foreign = by_validator(2, change_for(1, genesis(), vec![]));
    foreign.by.validator = 1;
    let found = VerifiedViewChange::check(&config, foreign, &is_signed).map(|_| ());
    assert_eq!(found, Err(ChangeError::Signature), "signed by another one");
    let other_chain = ViewChange { chain: schemas::id::ChainId([1; 32]), ..change_for(1, genesis(), vec![]) };
    assert_eq!(check(other_chain), Err(ChangeError::Place));
}

#[test]
fn a_lying_checkpoint_is_refused() {
    let mut network = Network::new(4, 1, QUIET);
    (0..5).for_each(|number| {
        network.submit(0, number);
        network.run(50, 0, &[]);
    });
    let config = network.config(3);
    let good = network.checkpoint(1);
    assert!(good.height > 0);
    let check = |checkpoint: Checkpoint| {
        let signed = by_validator(2, change_for(1, checkpoint, vec![]));
        VerifiedViewChange::check(&config, signed, &is_signed).map(|_| ())
    };
    assert_eq!(check(good.clone()), Ok(()));
    let refused = Err(ChangeError::Checkpoint);
    assert_eq!(check(Checkpoint { height: good.height + 100, ..good.clone() }), refused, "a height nobody attested");
    assert_eq!(check(Checkpoint { header: Digest([3; 32]), ..good.clone() }), refused, "another header");
    let mut short = good.clone();
    short.attestations.truncate(2);
    assert_eq!(check(short), refused, "too few");
    let mut long = good.clone();
    let bytes = schemas::block::attestation_bytes(&CHAIN, 0, good.height, &good.header);
    long.attestations = (0..4).map(|v| ValidatorSignature { validator: v, signature: Mock(v).sign(&bytes) }).collect();
    assert_eq!(check(long), refused, "more than are needed");
    let mut doubled = good.clone();
    doubled.attestations[1] = doubled.attestations[0];
    assert_eq!(check(doubled), refused, "one signer twice");
    assert_eq!(check(Checkpoint { height: 0, ..good }), refused, "genesis has no attestations");
}

#[test]
fn a_new_view_holds_what_follows_from_its_view_changes_and_nothing_else() {
    let network = Network::new(4, 1, QUIET);
    let config = network.config(3);
    let genesis = || Checkpoint::genesis(&CHAIN);
    let changes = |view: u64| -> Vec<_> {
        // validator 2 prepared height 3 in view 1, validator 0 height 1 in view 0 and height 3 in view 0
        let older = vec![prepared(0, 1, &[1, 2]), prepared(0, 3, &[1, 3])];
        vec![
            by_validator(0, change_for(view, genesis(), older)),
            by_validator(2, change_for(view, genesis(), vec![prepared(1, 3, &[0, 2])])),
            by_validator(3, change_for(view, genesis(), vec![])),
        ]
    };
    let view = 2;
    let sign = |changes: Vec<SignedViewChange>, digests: &[Digest]| {
        let primary = Mock(2);
        let vote = |(height, &digest)| {
            let certificate =
                PreparedCertificate { view, height, digest, pre_prepare: primary.sign(b""), prepares: vec![] };
            primary.sign(&certificate.vote(CHAIN, 0, Phase::PrePrepare).to_sign())
        };
        let pre_prepares = (1..).zip(digests).map(vote).collect();
        let mut out = NewView { chain: CHAIN, epoch: 0, view, changes, pre_prepares, signature: primary.sign(b"") };
        out.signature = primary.sign(&out.to_sign());
        out
    };
    let check = |message: NewView| VerifiedNewView::check(&config, message, &is_signed);
    let null = Batch::null(CHAIN, 0, 2).digest();
    let right = [Digest([1; 32]), null, Digest([2; 32])];
    let good = check(sign(changes(2), &right)).expect("what follows from the view changes");
    assert_eq!(
        good.assigned().map(|(height, digest, _)| (height, digest)).collect::<Vec<_>>(),
        (1..).zip(right).collect::<Vec<_>>()
    );
    let refused = |message, error, what: &str| assert_eq!(check(message).map(|_| ()), Err(error), "{what}");
    let wrong = [right[0], null, Digest([1; 32])];
    refused(sign(changes(2), &wrong), ChangeError::Signature, "the lower view's batch");
    refused(sign(changes(2), &[right[0], Digest([7; 32]), right[2]]), ChangeError::Signature, "no null batch");
    refused(sign(changes(2), &right[..2]), ChangeError::Signature, "one left out");
    refused(sign(changes(2), &[&right[..], &[null]].concat()), ChangeError::Signature, "one more");
    refused(sign(changes(2)[..2].to_vec(), &right), ChangeError::Quorum, "too few view changes");
    let twice = vec![changes(2)[0].clone(), changes(2)[0].clone(), changes(2)[1].clone()];
    refused(sign(twice, &right), ChangeError::Quorum, "one validator twice");
    refused(sign(changes(3), &right), ChangeError::View, "view changes for another view");
    let mut altered = changes(2);
    altered[1].change.prepared.clear();
    refused(sign(altered, &right), ChangeError::Signature, "a view change that its sender did not sign");
    let mut unsigned = sign(changes(2), &right);
    unsigned.signature = Mock(1).sign(&unsigned.to_sign());
    refused(unsigned, ChangeError::Signature, "signed by another than the view's primary");
}
