//! Bodies that a later view may ask for: whatever may have prepared somewhere is still here when its certificate is shown, however many
//! views came to nothing in between. And so many batches of one height are never signed for that they could not be kept.

use ledger_core::Sign as _;
use schemas::block::{self, Batch, Phase, ValidatorIndex, ValidatorSignature, Vote, transactions_root};
use schemas::limits;
use schemas::pbft::{Message, PrePrepare};
use schemas::view::{Checkpoint, PreparedCertificate};

use crate::forgeries::{by_validator, change_for};
use crate::network::{CHAIN, Faults, Mock, Network, transaction};

const QUIET: Faults = Faults { loss: 0, duplication: 0, delay_ms: 3 };

/// The primary of view 0 is an attacker: what it proposes prepares, and nobody but it knows.
fn prepared_in_secret(network: &mut Network) -> PreparedCertificate {
    let transactions = vec![transaction(2)];
    let transactions_root = transactions_root(&transactions);
    let batch = Batch { chain: CHAIN, epoch: 0, height: 1, transactions_root, time: network.now };
    let digest = batch.digest();
    let vote = |phase| Vote { chain: CHAIN, epoch: 0, view: 0, height: 1, phase, digest };
    let pre_prepare = Mock(0).sign(&vote(Phase::PrePrepare).to_sign());
    let proposal = PrePrepare { view: 0, batch, transactions, signature: pre_prepare };
    (1..3).for_each(|to| network.send(0, to, Message::PrePrepare(proposal.clone())));
    network.run(50, 0, &[]);
    let prepares = network.heard.iter().filter_map(|message| match message {
        Message::Vote(signed) if signed.vote == vote(Phase::Prepare) => Some(signed.by),
        _ => None,
    });
    let prepares: std::collections::BTreeMap<_, _> = prepares.map(|by| (by.validator, by.signature)).collect();
    let prepares: Vec<_> =
        prepares.into_iter().map(|(validator, signature)| ValidatorSignature { validator, signature }).collect();
    assert_eq!(prepares.len(), 2, "with the primary a quorum");
    PreparedCertificate { view: 0, height: 1, digest, pre_prepare, prepares }
}

/// Views begin and end without a certificate, until one of this number or a later one lasts.
fn pass_views(network: &mut Network, until: u64) -> u64 {
    loop {
        network.run(20, 0, &[]);
        let view = (1..4).map(|index| network.view(index)).min().unwrap_or(0);
        if view >= until && (1..4).all(|index| network.view(index) == view && !network.is_changing(index)) {
            return view;
        }
        assert!(network.now < 1_000_000, "views pass");
    }
}

fn attacked() -> Network {
    let mut network = Network::new(4, 1, QUIET);
    network.attacker = Some(0);
    network.crash(0);
    network.unprepared = true;
    (1..4).for_each(|index| network.submit(index, 1));
    network
}

#[test]
fn a_certificate_that_was_kept_back_finds_its_body() {
    let mut network = attacked();
    let certificate = prepared_in_secret(&mut network);
    let mut said = pass_views(&mut network, 6);
    let mut healed = network.now;
    while network.executed(1) == 0 {
        let view = (1..4).map(|index| network.view(index)).max().unwrap_or(0);
        if said <= view {
            said = view + 1;
            let change = change_for(said, Checkpoint::genesis(&CHAIN), vec![certificate.clone()]);
            (1..4).for_each(|to| network.send(0, to, Message::ViewChange(by_validator(0, change.clone()))));
        }
        if network.unprepared && (1..4).all(|index| network.view(index) > 6) {
            (network.unprepared, healed) = (false, network.now);
        }
        network.run(20, 0, &[]);
        assert!(network.now - healed < 6 * limits::VIEW_TIMEOUT_MS_MAX, "nobody has the body: view {view}");
    }
    network.run(limits::VIEW_TIMEOUT_MS_MAX, 0, &[]);
    assert!(network.is_executed(1), "and it goes on");
}

/// Where no certificate is, a null batch takes the place of the batches that came to nothing.
#[test]
fn a_height_at_which_nothing_prepares_is_filled_without_a_body() {
    let mut network = attacked();
    prepared_in_secret(&mut network);
    let views = limits::FRESH_BODIES_PER_HEIGHT_MAX as u64 * 2;
    pass_views(&mut network, views);
    let signed = network.heard.iter().filter_map(|message| match message {
        Message::Vote(signed) if signed.vote.phase == Phase::Prepare && signed.vote.height == 1 => {
            Some((signed.by.validator, signed.vote.digest))
        }
        Message::PrePrepare(said) if said.batch.height == 1 => {
            Some((block::primary_of(said.view, 4), said.batch.digest()))
        }
        _ => None,
    });
    let null = Batch::null(CHAIN, 0, 1).digest();
    let signed: std::collections::BTreeSet<(ValidatorIndex, _)> =
        signed.filter(|(_, digest)| *digest != null).collect();
    for by in 1..4 {
        let count = signed.iter().filter(|(signer, _)| *signer == by).count();
        assert!(count <= limits::FRESH_BODIES_PER_HEIGHT_MAX, "validator {by} signs for {count} batches of one height");
    }
    network.unprepared = false;
    let healed = network.now;
    while !network.is_executed(1) {
        network.run(20, 0, &[]);
        assert!(network.now - healed < 6 * limits::VIEW_TIMEOUT_MS_MAX, "it stands");
    }
}
