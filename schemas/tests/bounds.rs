//! Lists within messages: as many elements as may be are read, one more is refused before the first of them is. What a
//! frame costs in memory must never be many times the frame.

#[path = "support/samples.rs"]
mod samples;

use schemas::block::{Block, TransactionBytes, ValidatorSignature};
use schemas::cbor::{self, CborError};
use schemas::id::{Digest, RawSignature, Signature};
use schemas::limits;
use schemas::pbft::{Decision, Message, PrePrepare, Prepared, Record};
use schemas::transfer::{Asked, Content, Piece, Row, Told};
use schemas::view::Checkpoint;

const SIGNATURE: Signature = Signature(RawSignature([5; 64]));

fn empty(count: usize) -> Vec<TransactionBytes> {
    vec![TransactionBytes([].into()); count]
}

fn signatures(count: usize) -> Vec<ValidatorSignature> {
    (0..count).map(|n| ValidatorSignature { validator: n as u16, signature: SIGNATURE }).collect()
}

fn pre_prepare(count: usize) -> Message {
    let (batch, transactions) = (samples::batch(), empty(count));
    Message::PrePrepare(PrePrepare { view: 0, batch, transactions, signature: SIGNATURE })
}

/// Whether a message is read, and where reading stopped otherwise.
fn read(message: &Message) -> Result<(), usize> {
    match cbor::decode::<Message>(&cbor::encode(message)) {
        Ok(same) => {
            assert_eq!(&same, message);
            Ok(())
        }
        Err(CborError::Malformed { offset, .. }) => Err(offset),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_frame_full_of_empty_transactions_is_refused_before_the_first() {
    assert_eq!(read(&pre_prepare(limits::BATCH_TRANSACTIONS_MAX)), Ok(()));
    let begin = cbor::encode(&pre_prepare(0)).len();
    let stopped = read(&pre_prepare(limits::BATCH_TRANSACTIONS_MAX + 1)).unwrap_err();
    assert!(stopped < begin, "at the length of the list: {stopped} of {begin}");
    let stopped = read(&pre_prepare(limits::PEER_FRAME_BYTES_MAX - 200)).unwrap_err();
    assert!(stopped < begin, "at the length of the list: {stopped} of {begin}");
}

#[test]
fn every_list_of_a_message_has_its_maximum() {
    let block = |transactions: usize, commits: usize, attestations: usize| {
        let mut block = Block { transactions: empty(transactions), ..samples::block() };
        block.certificate.commits = signatures(commits);
        block.attestations = signatures(attestations);
        Message::Blocks(vec![block])
    };
    let (many, all) = (limits::BATCH_TRANSACTIONS_MAX, limits::VALIDATORS_MAX);
    assert_eq!(read(&block(many, all, all)), Ok(()));
    for over in [block(many + 1, 0, 0), block(0, all + 1, 0), block(0, 0, all + 1)] {
        assert!(read(&over).is_err());
    }
    let blocks = |count| Message::Blocks(vec![samples::block(); count]);
    assert_eq!(read(&blocks(limits::CATCH_UP_BLOCKS_MAX)), Ok(()));
    assert!(read(&blocks(limits::CATCH_UP_BLOCKS_MAX + 1)).is_err());
    let decision = |count| {
        let certificate = samples::block().certificate;
        Message::Decided(Decision { batch: samples::batch(), transactions: empty(count), certificate })
    };
    assert_eq!(read(&decision(many)), Ok(()));
    assert!(read(&decision(many + 1)).is_err());
    let rows = |count| {
        let row = Row { key: schemas::proof::Value(vec![]), value: schemas::proof::Value(vec![]) };
        let asked = Asked { height: 1, piece: Piece::State { depth: 0, index: 0 } };
        Message::Piece(Told { asked, content: Content::State(vec![row; count]) })
    };
    assert_eq!(read(&rows(limits::TRANSFER_ROWS_MAX)), Ok(()));
    assert!(read(&rows(limits::TRANSFER_ROWS_MAX + 1)).is_err());
}

#[test]
fn records_and_certificates_name_each_validator_once_at_most() {
    let vote = samples::vote();
    let prepared = |count| Record::Prepared(Prepared { vote, prepares: signatures(count), commit: SIGNATURE });
    let read = |record: &Record| cbor::decode::<Record>(&cbor::encode(record)).is_ok();
    assert!(read(&prepared(limits::VALIDATORS_MAX)) && !read(&prepared(limits::VALIDATORS_MAX + 1)));
    let checkpoint = |count| Checkpoint { height: 1, header: Digest([1; 32]), attestations: signatures(count) };
    let read = |checkpoint: &Checkpoint| cbor::decode::<Checkpoint>(&cbor::encode(checkpoint)).is_ok();
    assert!(read(&checkpoint(limits::VALIDATORS_MAX)) && !read(&checkpoint(limits::VALIDATORS_MAX + 1)));
}

#[test]
fn a_list_that_announces_more_than_it_sends_gets_no_room() {
    // 2^60 transactions, and none follows
    let mut bytes = cbor::encode(&pre_prepare(0));
    let at = bytes.windows(3).position(|three| three == [0x02, 0x80, 0x03]).expect("an empty list") + 1;
    bytes.splice(at..=at, [0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(cbor::decode::<Message>(&bytes), Err(CborError::Malformed { offset, .. }) if offset == at + 9));
}
