//! The ledger executed again from its genesis: honest blocks follow, and no field of a header can be another.

#[path = "../../proof/tests/support/chain.rs"]
mod chain;
#[path = "support/ledger.rs"]
mod ledger;

use chain::{Chain, amended, anchor, bytes, statement};
use ledger::Ledger;
use ledger_contract::{Replay, ReplayError, StateTree};
use ledger_proof::AwsLc;
use schemas::block::{Block, Header};
use schemas::id::{ChainId, Digest};
use schemas::transaction::Outcome;
use std::collections::BTreeMap;

/// Blocks as honest validators make them: new cases, a refused copy, a second version, nothing.
fn blocks() -> (Chain, Vec<Block>) {
    let (mut chain, mut ledger, mut tree) = (Chain::new(4), Ledger::new(), StateTree::default());
    let nodes = BTreeMap::new();
    tree.update(&nodes, 0, &ledger.state).expect("in memory");
    let first = anchor(chain.id, 50, vec![statement(1), statement(2)]);
    let again = anchor(chain.id, 40, vec![statement(2)]);
    let next = anchor(chain.id, 50, vec![amended(&statement(1))]);
    let blocks = [vec![first, again], vec![next], vec![]].map(|transactions| {
        let transactions: Vec<_> = transactions.iter().map(bytes).collect();
        let done = ledger.raw_block(&transactions);
        chain.state_root = tree.update(&nodes, ledger.height, &done.changes).expect("in memory").root;
        chain.block(transactions, &done.entries).0
    });
    (chain, blocks.to_vec())
}

#[test]
fn honest_blocks_follow_and_others_do_not() {
    let (chain, blocks) = blocks();
    type Alter = fn(&mut Header);
    let alter: [(&str, Alter); 8] = [
        ("chain or height", |header| header.chain = ChainId([1; 32])),
        ("chain or height", |header| header.height += 1),
        ("previous header", |header| header.previous = Digest([1; 32])),
        ("log root", |header| header.log_root = Digest([1; 32])),
        ("log root", |header| header.log_size += 1),
        ("state root", |header| header.state_root = Digest([1; 32])),
        ("header", |header| header.time += 1),
        ("header", |header| header.batch = Digest([1; 32])),
    ];
    for at in 0..blocks.len() {
        for (expected, alter) in &alter {
            let mut replay = Replay::new(&chain.genesis).expect("small");
            blocks[..at].iter().for_each(|block| drop(replay.execute(block, &AwsLc).expect("honest")));
            let mut other = blocks[at].clone();
            alter(&mut other.header);
            match replay.execute(&other, &AwsLc) {
                Err(ReplayError::Differs { what, .. }) => assert_eq!(what, *expected),
                found => panic!("{expected}: {found:?}"),
            }
            assert_eq!(replay.height(), at as u64, "it does not go on");
        }
    }
    let mut replay = Replay::new(&chain.genesis).expect("small");
    let outcomes: Vec<_> = blocks
        .iter()
        .flat_map(|block| replay.execute(block, &AwsLc).expect("honest"))
        .map(|entry| entry.outcome == Outcome::Accepted)
        .collect();
    assert_eq!(outcomes, [true, false, true]);
    // a block that is left out, or comes twice
    let mut replay = Replay::new(&chain.genesis).expect("small");
    assert!(replay.execute(&blocks[1], &AwsLc).is_err());
    let mut replay = Replay::new(&chain.genesis).expect("small");
    replay.execute(&blocks[0], &AwsLc).expect("honest");
    assert!(replay.execute(&blocks[0], &AwsLc).is_err());
}
