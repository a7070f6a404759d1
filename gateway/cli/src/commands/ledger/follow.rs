//! `chartseal ledger follow`: every block as it becomes final, checked as an auditor would: certificates and attestations (by the
//! client), the chain of headers, and the log. From the genesis everything is executed again, so that roots of log and state
//! need nobody's word; from a later height each log is proved to continue the one before. It must stop at the first difference.

use std::time::Duration;

use ledger_client::{HttpLedger, Ledger};
use ledger_contract::Replay;
use ledger_proof::AwsLc;
use schemas::block::{Block, Header};
use schemas::genesis::Genesis;
use schemas::id::Height;
use schemas::limits;

use super::{describe, failed};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;

/// Longest wait for new blocks in one question.
const WAIT: Duration = Duration::from_secs(10);

/// How blocks are checked.
enum Check {
    Executed(Box<Replay>),
    Continued(Option<Header>),
}

pub(super) async fn follow(
    ledger: &HttpLedger,
    genesis: &Genesis,
    from: Height,
    max: Option<u64>,
    output: Output,
) -> Outcome {
    let from = from.max(1);
    let mut check = if from == 1 {
        Check::Executed(Box::new(Replay::new(genesis).map_err(invalid)?))
    } else {
        output.note(format_args!(
            "from height {from} on: each log is proved to continue the one before; only --from 1 executes everything"
        ));
        let before = ledger.blocks(from - 1, 1, Duration::ZERO).await.map_err(failed)?.pop();
        Check::Continued(before.map(|block| block.header))
    };
    let mut next = from;
    while max.is_none_or(|max| next - from < max) && !output.is_gone() {
        let left = max.map_or(usize::MAX, |max| usize::try_from(max - (next - from)).unwrap_or(usize::MAX));
        let blocks = ledger.blocks(next, left.min(limits::CATCH_UP_BLOCKS_MAX), WAIT).await.map_err(failed)?;
        for block in blocks {
            check.block(ledger, &block).await?;
            output.document(&describe(&block, output))?;
            next += 1;
        }
    }
    output.line(format_args!("checked {} blocks from height {from}", next - from));
    Ok(Exit::Done)
}

impl Check {
    async fn block(&mut self, ledger: &HttpLedger, block: &Block) -> Result<(), Failure> {
        match self {
            Self::Executed(replay) => replay.execute(block, &AwsLc).map(drop).map_err(invalid),
            Self::Continued(before) => {
                if let Some(before) = before {
                    continues(ledger, before, block).await?;
                }
                *before = Some(block.header.clone());
                Ok(())
            }
        }
    }
}

/// The header names the one before, the log grew by the block's transactions, and nothing in it changed.
async fn continues(ledger: &HttpLedger, before: &Header, block: &Block) -> Result<(), Failure> {
    let header = &block.header;
    let differs =
        |what: &str| Err(invalid(format_args!("block {}: found another {what} than expected", header.height)));
    if header.previous != before.hash() {
        return differs("previous header");
    }
    if header.log_size != before.log_size + block.transactions.len() as u64 || header.time < before.time {
        return differs("log size or time");
    }
    let proof = ledger.consistency(before.height, header.height).await.map_err(failed)?;
    match proof {
        Some(proof) if proof.first.header == *before && proof.second.header == *header => Ok(()),
        Some(_) => differs("header in the proof of consistency"),
        None => differs("answer: no validator proves that the log continues; ask again"),
    }
}

fn invalid(what: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Invalid, what)
}
