//! A validator whose execution gives another header than that of the others (a damaged store, a bit that fell over, another
//! version of the contract): it halts before it says anything that rests on it, whichever of the two it learns first.

use ledger_core::{Decided, Effect, Execution, Input, Replica, Request, Sign as _, Start};
use schemas::block::{Block, Header, ValidatorIndex, ValidatorSignature};
use schemas::cbor::sha256;
use schemas::id::Height;
use schemas::pbft::{Attest, Message};
use schemas::view::Checkpoint;

use crate::finish;
use crate::network::{CHAIN, Faults, Mock, Network};

const ME: ValidatorIndex = 2;

/// A chain of the others, and a validator at its beginning.
fn chain() -> (Vec<Block>, Replica) {
    let mut network = Network::new(4, 1, Faults::default());
    for number in 0..3 {
        network.submit(0, number);
        finish(&mut network, number + 1);
    }
    let heights = 1..=network.executed(0);
    let blocks = heights.map(|height| network.block(0, height).expect("it is final")).collect();
    let (executed, unattested, records) = (0, vec![], vec![]);
    let checkpoint = Checkpoint::genesis(&CHAIN);
    let (config, now) = (network.config(ME), network.now);
    let start = Start { config, executed, unattested, checkpoint, seal: None, records, now, nonce: 0 };
    (blocks, Replica::start(start, &Mock(ME)).map_err(|e| e.to_string()).unwrap().0)
}

fn decided(block: &Block) -> Input {
    let requests = block.transactions.iter().map(|bytes| Request::read(bytes.clone()).unwrap()).collect();
    Input::Decided(Decided::check(block.batch.clone(), requests, block.certificate.clone()).unwrap())
}

/// As the others made it, but for what executing it came to.
fn damaged(block: &Block) -> Header {
    Header { state_root: sha256(b"damaged"), ..block.header.clone() }
}

fn attested(height: Height, block: &Block, by: &ValidatorSignature) -> Input {
    let (header, by) = (block.header.hash(), *by);
    Input::Attested(Attest { height, header, by })
}

fn executes(effects: &[Effect]) -> Option<&Execution> {
    effects.iter().find_map(|effect| match effect {
        Effect::Execute(execution) => Some(execution.as_ref()),
        _ => None,
    })
}

fn halts(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Halt(_)))
}

fn attests(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Broadcast(Message::Attest(_))))
}

#[test]
fn it_executes_a_final_block_to_another_header() {
    let (blocks, mut replica) = chain();
    let effects = replica.step(Input::Final(blocks[..1].to_vec()), &Mock(ME));
    assert_eq!(executes(&effects).map(|execution| execution.batch.digest()), Some(blocks[0].batch.digest()));
    let effects = replica.step(Input::Executed(damaged(&blocks[0]), None, vec![]), &Mock(ME));
    assert!(halts(&effects) && !attests(&effects), "{effects:?}");
}

#[test]
fn a_final_block_has_another_header_than_it_executed() {
    let (blocks, mut replica) = chain();
    assert!(executes(&replica.step(decided(&blocks[0]), &Mock(ME))).is_some());
    assert!(
        !halts(&replica.step(Input::Executed(damaged(&blocks[0]), None, vec![]), &Mock(ME))),
        "nothing is known yet"
    );
    assert!(halts(&replica.step(Input::Final(blocks), &Mock(ME))));
}

#[test]
fn an_honest_one_attests_another_header_than_it_executed() {
    let (blocks, mut replica) = chain();
    replica.step(decided(&blocks[0]), &Mock(ME));
    replica.step(Input::Executed(damaged(&blocks[0]), None, vec![]), &Mock(ME));
    // one may lie, of f + 1 one is honest
    for (validator, is_proof) in [(0, false), (1, true)] {
        let bytes = schemas::block::attestation_bytes(&CHAIN, 0, 1, &blocks[0].header.hash());
        let by = ValidatorSignature { validator, signature: Mock(validator).sign(&bytes) };
        let effects = replica.step(attested(1, &blocks[0], &by), &Mock(ME));
        assert_eq!(halts(&effects), is_proof, "after that of {validator}");
    }
}

#[test]
fn another_batch_was_decided_than_it_executed() {
    let (blocks, mut replica) = chain();
    replica.step(decided(&blocks[0]), &Mock(ME));
    replica.step(Input::Executed(blocks[0].header.clone(), None, vec![]), &Mock(ME));
    let mut other = blocks[1].clone();
    other.batch.height = 1;
    other.header.height = 1;
    other.header.batch = other.batch.digest();
    assert!(halts(&replica.step(decided(&other), &Mock(ME))), "from its certificate");
    assert!(halts(&replica.step(Input::Final(vec![other]), &Mock(ME))), "from its block");
}
