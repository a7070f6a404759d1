//! An adversary between seal and open. "Caught" means: `check` abandons, and, where the digest in the statement is
//! recomputed by the adversary, opening still fails.

use super::*;
use crate::derive::UnitKeys;
use crate::error::{OpenError, UnitError};
use crate::personal::PersonalKey;
use schemas::envelope::{TAG_BYTES, statements_root, wrap_set_hash};
use schemas::id::ConsentId;
use schemas::limits;
use schemas::transaction::Body;

struct Case {
    vault: Vault,
    subject: SubjectKey,
    sealed: Sealed,
    transaction: Transaction,
}

fn case(units: &[Unit]) -> Case {
    let (vault, subject) = (vault(), subject(1));
    let patient = Some(PersonalKey::of(private(0x31)).public());
    let sealed = vault.seal(SealRequest { patient, ..request(&subject, units) }).unwrap();
    let transaction = anchor(&vault, vec![sealed.statement.clone()]);
    check(&vault, &transaction, &sealed.object, &sealed.wraps, &subject).unwrap();
    Case { vault, subject, sealed, transaction }
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out[bit / 8] ^= 1 << (bit % 8);
    out
}

fn flip_objects(case: &Case, bits: impl Iterator<Item = usize>) {
    let Case { vault, subject, sealed, transaction } = case;
    let patient = PersonalKey::of(private(0x31));
    for bit in bits {
        let object = flipped(&sealed.object, bit);
        let result = check(vault, transaction, &object, &sealed.wraps, subject);
        assert_eq!(result, Err(AbandonError::Open(OpenError::Digest)), "bit {bit}");
        assert!(open_all(subject, &sealed.wraps, &object).is_err(), "bit {bit} opened");
        if bit % 64 == 0 {
            let as_patient = patient.open_case(&sealed.wraps, &object, &cbor::sha256(&object));
            assert!(as_patient.is_err(), "bit {bit} opened as the patient");
        }
    }
}

#[test]
fn every_bit_of_a_small_object() {
    let case = case(&small());
    flip_objects(&case, 0..case.sealed.object.len() * 8);
}

#[test]
fn the_patient_abandons_what_does_not_fit() {
    let case = case(&small());
    let Case { sealed, .. } = &case;
    let patient = PersonalKey::of(private(0x31));
    let chain = sealed.header.chain;
    let receive = |key: &PersonalKey, statement: &Statement, wraps: &[Wrap], object: &[u8]| {
        key.receive(&chain, statement, wraps, object)
    };
    let units = receive(&patient, &sealed.statement, &sealed.wraps, &sealed.object).unwrap();
    assert_eq!(units, small());
    let stranger = PersonalKey::of(private(0x32));
    let refused = receive(&stranger, &sealed.statement, &sealed.wraps, &sealed.object);
    assert_eq!(refused, Err(AbandonError::Open(OpenError::NoWrap)));
    for bit in 0..sealed.object.len() * 8 {
        let object = flipped(&sealed.object, bit);
        let refused = receive(&patient, &sealed.statement, &sealed.wraps, &object);
        assert_eq!(refused, Err(AbandonError::Open(OpenError::Digest)), "bit {bit}");
        // whoever hands it out may have a statement of their own for it: what was sealed still does not open
        if bit % 16 == 0 {
            let statement = Statement { object: cbor::sha256(&object), ..sealed.statement.clone() };
            assert!(receive(&patient, &statement, &sealed.wraps, &object).is_err(), "bit {bit} was accepted");
        }
    }
    let encoded = cbor::encode(&sealed.wraps);
    for bit in 0..encoded.len() * 8 {
        let Ok(wraps) = cbor::decode::<Vec<Wrap>>(&flipped(&encoded, bit)) else { continue };
        let refused = receive(&patient, &sealed.statement, &wraps, &sealed.object);
        assert_eq!(refused, Err(AbandonError::Wraps), "bit {bit} of the wraps");
    }
    let s = &sealed.statement;
    let changed = [
        Statement { version: 2, ..s.clone() },
        Statement { header: Digest([1; 32]), ..s.clone() },
        Statement { root: Digest([1; 32]), ..s.clone() },
        Statement { institution: schemas::id::InstitutionId([1; 16]), ..s.clone() },
        Statement { time: s.time + 1, ..s.clone() },
        Statement { case: CaseId([1; 16]), ..s.clone() },
    ];
    for statement in changed {
        let refused = receive(&patient, &statement, &sealed.wraps, &sealed.object);
        assert!(matches!(refused, Err(AbandonError::Header(_))), "{refused:?}");
    }
    let other = schemas::id::ChainId([1; 32]);
    let refused = patient.receive(&other, s, &sealed.wraps, &sealed.object);
    assert_eq!(refused, Err(AbandonError::Header("chain")));
}

#[test]
fn sampled_bits_of_a_large_object() {
    let case = case(&[unit("raw", &vec![0x41; 3 * limits::UNIT_CHUNK_BYTES]), unit("Patient", b"{}")]);
    // A prime step meets every byte position of chunk and tag over the whole length.
    flip_objects(&case, (0..case.sealed.object.len() * 8).step_by(8191));
}

#[test]
fn every_bit_of_the_wraps() {
    let Case { vault, subject, sealed, transaction } = case(&small());
    let encoded = cbor::encode(&sealed.wraps);
    let patient = PersonalKey::of(private(0x31));
    let mut decoded = 0;
    for bit in 0..encoded.len() * 8 {
        let bytes = flipped(&encoded, bit);
        let Ok(wraps) = cbor::decode::<Vec<Wrap>>(&bytes) else { continue };
        decoded += 1;
        assert_eq!(check(&vault, &transaction, &sealed.object, &wraps, &subject), Err(AbandonError::Wraps));
        // One of the two was changed and must not open; the other one is whole.
        let custodian = open_all(&subject, &wraps, &sealed.object).is_ok();
        let patient = patient.open_case(&wraps, &sealed.object, &sealed.statement.object).is_ok();
        assert!(custodian != patient, "bit {bit}: custodian {custodian}, patient {patient}");
    }
    assert!(decoded > 1000, "{decoded} flips decoded");
}

#[test]
fn every_bit_of_the_statement_even_signed_again() {
    let Case { vault, subject, sealed, transaction } = case(&small());
    let encoded = cbor::encode(&sealed.statement);
    let mut decoded = 0;
    for bit in 0..encoded.len() * 8 {
        let bytes = flipped(&encoded, bit);
        let Ok(statement) = cbor::decode::<Statement>(&bytes) else { continue };
        decoded += 1;
        let mut stolen = transaction.clone();
        stolen.statements = vec![statement.clone()];
        assert!(check(&vault, &stolen, &sealed.object, &sealed.wraps, &subject).is_err(), "bit {bit}");
        if let Body::AnchorCases(body) = &mut stolen.core.body {
            body.root = statements_root(&stolen.statements);
        }
        let result = check(&vault, &stolen, &sealed.object, &sealed.wraps, &subject);
        assert!(result.is_err(), "bit {bit} with its root");
        if let Ok(signed) = vault.sign_anchor(CHAIN, INSTITUTION, 100, vec![statement], vec![]) {
            let result = check(&vault, &signed, &sealed.object, &sealed.wraps, &subject);
            assert!(result.is_err(), "bit {bit} signed again");
        }
    }
    assert!(decoded > 1500, "{decoded} flips decoded");
}

#[test]
fn every_bit_of_the_signature() {
    let Case { vault, sealed, subject, transaction } = case(&small());
    let encoded = cbor::encode(&transaction.signatures);
    for bit in 0..encoded.len() * 8 {
        let bytes = flipped(&encoded, bit);
        let Ok(signatures) = cbor::decode(&bytes) else { continue };
        let stolen = Transaction { signatures, ..transaction.clone() };
        let result = check(&vault, &stolen, &sealed.object, &sealed.wraps, &subject);
        assert_eq!(result, Err(AbandonError::Signature("institution")), "bit {bit}");
    }
}

#[test]
fn other_signers_chains_and_shapes() {
    let Case { vault, sealed, subject, transaction } = case(&small());
    let run = |t: &Transaction| check(&vault, t, &sealed.object, &sealed.wraps, &subject);
    let mut none = transaction.clone();
    none.signatures.clear();
    assert_eq!(run(&none), Err(AbandonError::Signature("institution")));
    let mut twice = transaction.clone();
    twice.signatures.push(twice.signatures[0].clone());
    assert_eq!(run(&twice), Err(AbandonError::Signature("institution")));
    let mut elsewhere = transaction.clone();
    elsewhere.core.chain = ChainId([9; 32]);
    assert_eq!(run(&elsewhere), Err(AbandonError::Transaction("chain")));
    let mut more = transaction.clone();
    more.statements.push(sealed.statement.clone());
    assert_eq!(run(&more), Err(AbandonError::Transaction("type or count")));
    let other = Vault::new(&Zeroizing::new([1; 32]), SignatureKey::new(&private(5)), SignatureKey::new(&private(6)));
    assert_eq!(run(&anchor(&other, vec![sealed.statement.clone()])), Err(AbandonError::Signature("institution")));
    // High-S is another spelling of the same signature and refused.
    let mut high = transaction.clone();
    let signature = p256::ecdsa::Signature::from_slice(high.signatures[0].signature.as_bytes()).unwrap();
    let (r, s) = signature.split_scalars();
    let high_s = p256::ecdsa::Signature::from_scalars(r, -s).unwrap();
    high.signatures[0].signature.0.0 = high_s.to_bytes().into();
    assert_eq!(run(&high), Err(AbandonError::Signature("institution")));
}

#[test]
fn another_subject_and_other_cases_wraps() {
    let a = case(&small());
    let b = case(&small());
    let run =
        |object: &[u8], wraps: &[Wrap], subject: &SubjectKey| check(&a.vault, &a.transaction, object, wraps, subject);
    let wrong = run(&a.sealed.object, &a.sealed.wraps, &subject(2));
    assert_eq!(wrong, Err(AbandonError::Open(OpenError::Subject)));
    assert_eq!(run(&a.sealed.object, &b.sealed.wraps, &a.subject), Err(AbandonError::Wraps));
    assert_eq!(run(&b.sealed.object, &a.sealed.wraps, &a.subject), Err(AbandonError::Open(OpenError::Digest)));
    // Without statement and digest in the way: the wrap of case b, relabelled for case a, is bound to b's header.
    assert_eq!(open_all(&a.subject, &b.sealed.wraps, &a.sealed.object), Err(OpenError::NoWrap));
    let mut relabelled = b.sealed.wraps.clone();
    relabelled[0].recipient = a.sealed.header.subject_tag.as_bytes().to_vec();
    assert_eq!(open_all(&a.subject, &relabelled, &a.sealed.object), Err(OpenError::Wrap));
    let patient = PersonalKey::of(private(0x31));
    let swapped = patient.open_case(&b.sealed.wraps, &a.sealed.object, &a.sealed.statement.object);
    assert_eq!(swapped, Err(OpenError::Wrap));
    // Epoch and consent are authenticated.
    for change in [|w: &mut Wrap| w.epoch += 1, |w: &mut Wrap| w.consent = Some(ConsentId([1; 16]))] {
        let mut wraps = a.sealed.wraps.clone();
        wraps.iter_mut().for_each(change);
        assert_eq!(open_all(&a.subject, &wraps, &a.sealed.object), Err(OpenError::Wrap));
        assert!(patient.open_case(&wraps, &a.sealed.object, &a.sealed.statement.object).is_err());
    }
    assert_eq!(open_all(&a.subject, &[], &a.sealed.object), Err(OpenError::NoWrap));
}

#[test]
fn a_wrap_of_another_key_for_the_right_header() {
    let Case { subject, sealed, .. } = case(&small());
    let other = Zeroizing::new([3; 32]);
    let wrap = wrap::for_custodian(subject.custodian(), &sealed.header.subject_tag, &sealed.statement.header, &other);
    assert_eq!(open_all(&subject, &[wrap.unwrap()], &sealed.object), Err(OpenError::Commitment));
}

/// Byte ranges of the units in the object.
fn unit_ranges(sealed: &Sealed) -> Vec<std::ops::Range<usize>> {
    let mut at = sealed.object.len();
    let mut out: Vec<_> = sealed
        .header
        .padded_lengths
        .iter()
        .rev()
        .map(|&padded| {
            let length = envelope::ciphertext_bytes(padded as usize);
            at -= length;
            at..at + length
        })
        .collect();
    out.reverse();
    out
}

#[test]
fn swapped_units() {
    let Case { subject, sealed, .. } = case(&[unit("Patient", b"one"), unit("Patient", b"two")]);
    let ranges = unit_ranges(&sealed);
    let mut object = sealed.object.clone();
    object[ranges[0].start..].rotate_left(ranges[0].len());
    let failed = OpenError::Unit { unit: 0, error: UnitError::Tag };
    assert_eq!(open_all(&subject, &sealed.wraps, &object), Err(failed));
}

#[test]
fn reordered_repeated_and_cut_chunks() {
    let sealed_chunk = limits::UNIT_CHUNK_BYTES + TAG_BYTES;
    let bytes: Vec<u8> = (0..4 * limits::UNIT_CHUNK_BYTES).map(|i| (i / limits::UNIT_CHUNK_BYTES) as u8).collect();
    let Case { vault, subject, sealed, transaction } = case(&[unit("raw", &bytes)]);
    let start = unit_ranges(&sealed)[0].start;
    let failed = Err(OpenError::Unit { unit: 0, error: UnitError::Tag });
    let attempt = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut object = sealed.object.clone();
        change(&mut object);
        assert!(check(&vault, &transaction, &object, &sealed.wraps, &subject).is_err());
        open_all(&subject, &sealed.wraps, &object)
    };
    let second = start + sealed_chunk;
    assert_eq!(attempt(&|o| o[start..second + sealed_chunk].rotate_left(sealed_chunk)), failed);
    assert_eq!(attempt(&|o| o.copy_within(start..second, second)), failed);
    for cut in [1, TAG_BYTES, 256, sealed_chunk, sealed.object.len() - start] {
        let result = attempt(&|o| o.truncate(o.len() - cut));
        assert!(matches!(result, Err(OpenError::Object(_))), "cut {cut}");
    }
    assert!(matches!(attempt(&|o| o.push(0)), Err(OpenError::Object(_))));
    // Cut at a chunk's end with the stream's own rules only: the last chunk's flag is missing.
    let (k, header_hash) = (
        wrap::open_as_custodian(subject.custodian(), &sealed.wraps[0], &sealed.statement.header).unwrap(),
        sealed.statement.header,
    );
    let keys = CaseKeys::extract(&k, &sealed.header.case, 1).unit(0);
    let leaf = keys.leaf("raw", &bytes);
    let whole = &sealed.object[start..];
    assert_eq!(opened(whole, &keys, &header_hash, 0, &leaf).unwrap().bytes, bytes);
    for chunks in 1..4 {
        let cut = &whole[..chunks * sealed_chunk];
        assert_eq!(opened(cut, &keys, &header_hash, 0, &leaf), Err(UnitError::Tag), "{chunks} chunks");
    }
    assert_eq!(opened(whole, &keys, &header_hash, 1, &leaf), Err(UnitError::Tag));
    assert_eq!(opened(&[], &keys, &header_hash, 0, &leaf), Err(UnitError::Padding));
}

/// As the recipient opens a unit; the check before anchoring says the same of it.
fn opened(sealed: &[u8], keys: &UnitKeys, hash: &Digest, index: u32, leaf: &Digest) -> Result<Unit, UnitError> {
    let opened = unit::open(sealed, keys, hash, index, leaf);
    assert_eq!(unit::check(sealed, keys, hash, index, leaf), opened.as_ref().map(drop).map_err(Clone::clone));
    opened
}

#[test]
fn a_check_reads_what_is_opened_whatever_its_length() {
    let keys = CaseKeys::extract(&Zeroizing::new([8; 32]), &CaseId([1; 16]), 1).unit(0);
    let (hash, chunk) = (Digest([2; 32]), limits::UNIT_CHUNK_BYTES);
    // the head takes 8 bytes: what fills a chunk and its neighbours, and where zeros alone fill the last one
    for length in [0, 1, 247, 248, 249, chunk - 9, chunk - 8, chunk - 7, chunk, 2 * chunk - 8, 2 * chunk, 3 * chunk + 1]
    {
        let sent = unit("raw", &vec![b'x'; length]);
        let mut sealed = Vec::new();
        unit::seal_onto(&mut sealed, &(&sent).into(), &keys, &hash, 0).unwrap();
        let leaf = keys.leaf("raw", &sent.bytes);
        assert_eq!(opened(&sealed, &keys, &hash, 0, &leaf).unwrap(), sent, "{length}");
        assert_eq!(opened(&sealed, &keys, &hash, 0, &Digest::ZERO), Err(UnitError::Leaf), "{length}");
        for at in [0, sealed.len() / 2, sealed.len() - 1] {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert_eq!(opened(&flipped, &keys, &hash, 0, &leaf), Err(UnitError::Tag), "{length}");
        }
    }
}

/// A dishonest institution seals other padding, or a leaf over other bytes, under valid tags.
#[test]
fn padding_has_one_spelling_and_leaves_bind_the_content() {
    let keys = CaseKeys::extract(&Zeroizing::new([8; 32]), &CaseId([1; 16]), 1).unit(0);
    let hash = Digest([2; 32]);
    let honest = unit("Patient", b"{}");
    let mut sealed = Vec::new();
    unit::seal_onto(&mut sealed, &(&honest).into(), &keys, &hash, 0).unwrap();
    let leaf = keys.leaf("Patient", b"{}");
    assert_eq!(opened(&sealed, &keys, &hash, 0, &leaf).unwrap(), honest);
    for other in [keys.leaf("Patient", b"{ }"), keys.leaf("patient", b"{}"), Digest::ZERO] {
        assert_eq!(opened(&sealed, &keys, &hash, 0, &other), Err(UnitError::Leaf));
    }
    // The cipher is a stream: flipping plaintext bits and sealing again is what an insider can do with the key.
    let reseal = |plain: &[u8]| unit::tests::seal_plain(plain, &keys, &hash, 0);
    let mut plain = vec![0; 256];
    plain[..14].copy_from_slice(b"\0\0\0\x02\x07Patient{}");
    assert_eq!(reseal(&plain), sealed);
    let open = |plain: &[u8]| opened(&reseal(plain), &keys, &hash, 0, &leaf);
    for (at, value) in [(3, 3), (255, 1), (14, 1), (0, 0xff), (4, 252), (5, b' '), (5, 0xff)] {
        let mut changed = plain.clone();
        changed[at] = value;
        assert!(open(&changed).is_err(), "byte {at}");
    }
    plain.resize(512, 0);
    assert_eq!(open(&plain), Err(UnitError::Padding));
}

#[test]
fn a_statement_must_name_its_wraps() {
    let Case { vault, subject, sealed, .. } = case(&small());
    let mut statement = sealed.statement.clone();
    statement.wraps = wrap_set_hash(&[]);
    let signed = anchor(&vault, vec![statement]);
    assert_eq!(check(&vault, &signed, &sealed.object, &[], &subject), Err(AbandonError::Open(OpenError::NoWrap)));
}

#[test]
fn nothing_printed_holds_the_canary() {
    let canary = "Kanarienvogel";
    let Case { subject, sealed, transaction, .. } = case(&[unit("Patient", canary.as_bytes())]);
    let opened = open_all(&subject, &sealed.wraps, &sealed.object).unwrap();
    let hex = schemas::id::to_hex(canary.as_bytes());
    let decimal = format!("{:?}", canary.as_bytes());
    let decimal = decimal.trim_matches(['[', ']']);
    let bad = vault().seal(request(&subject, &[unit(canary, b""), unit(&format!("{canary} "), b"")])).unwrap_err();
    let printed = [
        format!("{opened:?} {:?}", opened[0]),
        format!("{transaction:?}"),
        format!("{:?}", sealed.wraps),
        format!("{bad:?} {bad}"),
    ];
    for text in &printed {
        assert!(!text.contains(canary) && !text.contains(&hex) && !text.contains(decimal), "{text}");
    }
    let whole = format!("{sealed:?}");
    assert!(!whole.contains(decimal) && !whole.contains(&hex));
}
