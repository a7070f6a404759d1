//! Evidence against validators: each kind convicts once, and nobody is framed.

#[path = "../../proof/tests/support/chain.rs"]
mod chain;
#[path = "support/ledger.rs"]
mod ledger;

use chain::{INSTITUTION, institution_key, key};
use ledger::Ledger;
use ledger_contract::evidence;
use schemas::block::{Phase, ValidatorSignature, Vote};
use schemas::evidence::{Conflict, Kind, Side, Word};
use schemas::id::Digest;
use schemas::pbft::SignedVote;
use schemas::transaction::{Body, Outcome, Refusal, Signer};

const ACCEPTED: Outcome = Outcome::Accepted;
const BY_INSTITUTION: Signer = Signer::Institution(INSTITUTION);

fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused(refusal)
}

#[test]
fn a_validator_that_contradicts_itself_is_convicted_once() {
    let mut ledger = Ledger::new();
    let conflict = contradiction(ledger.chain, 2, Phase::Commit);
    let report = |ledger: &Ledger, conflict| ledger.sign(Body::ReportConflict(conflict), &[]);
    let tx = report(&ledger, conflict);
    assert_eq!(ledger.execute(&tx), ACCEPTED);
    let held = evidence(&ledger.state, 0, 2).expect("readable").expect("kept");
    assert_eq!((held.conflict, held.height), (conflict, 1));
    assert_eq!(evidence(&ledger.state, 0, 1).expect("readable"), None);
    assert_eq!(ledger.execute(&tx), refused(Refusal::Duplicate));
    let again = report(&ledger, contradiction(ledger.chain, 2, Phase::Prepare));
    assert_eq!(ledger.execute(&again), refused(Refusal::IdUsed), "one proof is enough");
    let other = report(&ledger, contradiction(ledger.chain, 3, Phase::PrePrepare));
    assert_eq!(ledger.execute(&other), ACCEPTED);
    for (index, kind) in [(0, Kind::Attestation), (1, Kind::ViewChange)] {
        let of_kind = words(ledger.chain, index, kind);
        assert_eq!(ledger.execute(&report(&ledger, of_kind)), ACCEPTED, "{kind:?}");
        assert_eq!(evidence(&ledger.state, 0, index).expect("readable").expect("kept").conflict.kind, kind);
    }
}

#[test]
fn nobody_is_framed() {
    let mut ledger = Ledger::new();
    let good = contradiction(ledger.chain, 2, Phase::Commit);
    let foreign = contradiction(schemas::id::ChainId([1; 32]), 2, Phase::Commit);
    let mut frames = vec![foreign];
    // its signatures, said to be of another place, or of another validator
    frames.push(Conflict { view: 1, ..good });
    frames.push(Conflict { height: good.height + 1, ..good });
    frames.push(Conflict { kind: Kind::Prepare, ..good });
    frames.push(Conflict { validator: 1, ..good });
    // one of the two is somebody else's, or the other one's
    let stranger = contradiction(ledger.chain, 1, Phase::Commit);
    frames.push(Conflict { lower: stranger.lower, ..good });
    frames.push(Conflict { higher: stranger.higher, ..good });
    frames.push(Conflict { higher: Side { signature: good.lower.signature, ..good.higher }, ..good });
    // votes said to be attestations or view changes, and the other way round
    frames.push(Conflict { kind: Kind::Attestation, view: 0, ..good });
    frames.push(Conflict { kind: Kind::ViewChange, height: 0, ..good });
    let attested = words(ledger.chain, 2, Kind::Attestation);
    frames.push(Conflict { height: attested.height + 1, ..attested });
    frames.push(Conflict { kind: Kind::Commit, ..attested });
    frames.push(words(schemas::id::ChainId([1; 32]), 2, Kind::Attestation));
    let left = words(ledger.chain, 2, Kind::ViewChange);
    frames.push(Conflict { view: left.view + 1, ..left });
    frames.push(Conflict { kind: Kind::PrePrepare, ..left });
    frames.push(words(schemas::id::ChainId([1; 32]), 2, Kind::ViewChange));
    for frame in frames {
        let tx = ledger.sign(Body::ReportConflict(frame), &[]);
        assert_eq!(ledger.execute(&tx), refused(Refusal::Signature), "{frame:?}");
    }
    for frame in [Conflict { validator: 4, ..good }, Conflict { epoch: 1, ..good }] {
        let tx = ledger.sign(Body::ReportConflict(frame), &[]);
        assert_eq!(ledger.execute(&tx), refused(Refusal::UnknownValidator), "{frame:?}");
    }
    // one vote twice, the wrong order, or another spelling of what proves the same
    let malformed = [
        Conflict { higher: good.lower, ..good },
        Conflict { lower: good.higher, higher: good.lower, ..good },
        Conflict { view: 1, ..attested },
        Conflict { height: 1, ..left },
    ];
    for frame in malformed {
        let tx = ledger.sign(Body::ReportConflict(frame), &[]);
        assert_eq!(ledger.execute(&tx), refused(Refusal::Malformed), "{frame:?}");
    }
    let signed = ledger.sign(Body::ReportConflict(good), &[(BY_INSTITUTION, institution_key())]);
    assert_eq!(ledger.execute(&signed), refused(Refusal::Malformed));
    assert!((0..4).all(|index| evidence(&ledger.state, 0, index).expect("readable").is_none()));
}

/// Two votes that validator `index` signed for one place.
fn contradiction(chain: schemas::id::ChainId, index: u16, phase: Phase) -> Conflict {
    let side = |label: u8| {
        let vote = Vote { chain, epoch: 0, view: 0, height: 7, phase, digest: Digest([label; 32]) };
        let signature = chain::sign(&key(index), &vote.to_sign());
        SignedVote { vote, by: ValidatorSignature { validator: index, signature } }
    };
    Conflict::of(&side(2), &side(1)).expect("a contradiction")
}

/// Two words of a kind that is no vote, which validator `index` signed for one place.
fn words(chain: schemas::id::ChainId, index: u16, kind: Kind) -> Conflict {
    let word = |label: u8| {
        let (view, height) = if kind == Kind::Attestation { (0, 7) } else { (3, 0) };
        let by = ValidatorSignature {
            validator: index,
            signature: schemas::id::Signature(schemas::id::RawSignature([0; 64])),
        };
        let mut word = Word { chain, epoch: 0, view, height, kind, digest: Digest([label; 32]), by };
        word.by.signature = chain::sign(&key(index), &word.to_sign());
        word
    };
    Conflict::of(word(2), word(1)).expect("a contradiction")
}
