//! State transfer with peers that are honest, slow, gone, or lie in every way: what is kept is the ledger, liars are known by their
//! first lie, and nobody else is blamed.

mod peers;
mod source;

use ledger_core::{Lie, TransferInput};
use peers::{ENOUGH, Kind, World, check};
use schemas::limits;
use schemas::transfer::{Asked, Content, Piece, Told};
use source::Source;

/// Beyond all `valid_until` of a third of the log.
const HEIGHT: u64 = 20_000;

fn kinds(n: usize, liars: &[Kind]) -> Vec<Kind> {
    let mut kinds = vec![Kind::Honest; n];
    kinds[1..=liars.len()].copy_from_slice(liars);
    kinds
}

#[test]
fn the_state_is_copied_from_all() {
    let source = Source::new(4, HEIGHT, 400, 30_000);
    let mut world = World::new(source.clone(), kinds(4, &[]));
    check(&source, world.run(ENOUGH));
    assert!(world.kept.asked[1..].iter().all(|asked| *asked > 5), "{:?}", world.kept.asked);
    assert!(world.kept.lies.is_empty() && world.kept.begun == 1);
    println!("{} ms", world.now);
}

#[test]
fn small_and_empty_ledgers_are_copied() {
    for (rows, entries) in [(1, 0), (2, 1), (3, 4_095), (5, 4_096), (5, 4_097), (40, 8_192)] {
        for height in [1, HEIGHT] {
            for depth in [1, 2, 6] {
                let source = Source { depth, ..Source::new(4, height, rows, entries) };
                let mut world = World::new(source.clone(), kinds(4, &[]));
                check(&source, world.run(ENOUGH));
            }
        }
    }
}

#[test]
fn a_liar_is_known_by_its_first_lie_and_nobody_else_is_blamed() {
    let source = Source::new(4, HEIGHT, 300, 20_000);
    for kind in Kind::LIARS {
        let mut world = World::new(source.clone(), kinds(4, &[kind]));
        check(&source, world.run(ENOUGH));
        assert_eq!(world.kept.lies.len(), 1, "{kind:?}: {:?}", world.kept.lies);
        assert_eq!(world.kept.lies[0].0, 1, "{kind:?}");
        let expected = match kind {
            Kind::OfferUnproven => Lie::Offer,
            Kind::ManifestLate => Lie::Late,
            Kind::ManifestShort | Kind::ManifestOtherState | Kind::ManifestOtherLog | Kind::ManifestBeyond => {
                Lie::Manifest
            }
            _ => Lie::Piece,
        };
        assert_eq!(world.kept.lies[0].1, expected, "{kind:?}");
    }
}

#[test]
fn two_of_seven_lie() {
    let source = Source::new(7, HEIGHT, 200, 9_000);
    for (at, one) in Kind::LIARS.into_iter().enumerate() {
        let other = Kind::LIARS[(at * 5 + 3) % Kind::LIARS.len()];
        let mut world = World::new(source.clone(), kinds(7, &[one, other]));
        check(&source, world.run(ENOUGH));
        assert!(world.kept.lies.iter().all(|(peer, _)| *peer <= 2), "{one:?}, {other:?}: {:?}", world.kept.lies);
    }
}

#[test]
fn whoever_is_slow_or_gone_is_no_liar_and_stops_nothing() {
    let source = Source::new(4, HEIGHT, 300, 20_000);
    let others = [
        Kind::Silent,
        Kind::Stingy,
        Kind::Forgetful,
        Kind::Dies(3),
        Kind::OfferOld,
        Kind::ManifestCoarse,
        Kind::Unasked,
    ];
    for kind in others {
        let mut world = World::new(source.clone(), kinds(4, &[kind]));
        check(&source, world.run(ENOUGH));
        assert!(world.kept.lies.is_empty(), "{kind:?}: {:?}", world.kept.lies);
        println!("{kind:?}: {} ms", world.now);
    }
}

/// A piece that is lost now and then is no reason to begin anew: whoever gives the next one is there.
#[test]
fn pieces_that_are_lost_now_and_then_are_asked_for_again_and_nothing_else_is() {
    let source = Source::new(4, HEIGHT, 300, 60_000);
    let mut world = World::new(source.clone(), kinds(4, &[Kind::Lossy(2); 3]));
    check(&source, world.run(20 * ENOUGH));
    assert_eq!(world.kept.begun, 1, "what was kept was thrown away");
}

#[test]
fn a_lost_height_is_given_up_for_another() {
    // all die in the middle: everything is asked anew, and what was kept of the first attempt is thrown away
    let source = Source::new(4, HEIGHT, 300, 20_000);
    let mut world = World::new(source.clone(), kinds(4, &[Kind::Dies(2), Kind::Dies(2), Kind::Dies(2)]));
    assert!(world.run(ENOUGH / 4).done.is_none());
    world.kinds[3] = Kind::Honest;
    check(&source, world.run(ENOUGH));
    assert!(world.kept.begun >= 2);
}

#[test]
fn a_moving_chain_is_met_at_a_height_ahead() {
    // at each pace one of the heights that are tried lies ahead of everyone when it is asked for
    for (pace, ahead) in [(1, limits::TRANSFER_HEIGHTS_AHEAD), (4, limits::TRANSFER_HEIGHTS_AHEAD / 8)] {
        let mut met = false;
        for offset in 0..200 {
            let source = Source::new(4, HEIGHT, 60, 5_000);
            let mut world = World::new(source.clone(), kinds(4, &[]));
            world.pace = Some(pace);
            world.start_at(HEIGHT - ahead - offset);
            if world.run(400).done.is_some() {
                check(&source, &world.kept);
                met = true;
            }
        }
        assert!(met, "a block in {pace} ticks");
    }
}

#[test]
fn one_offer_is_not_enough_and_a_lonely_validator_asks_on() {
    let source = Source::new(4, HEIGHT, 60, 100);
    let mut world = World::new(source, kinds(4, &[Kind::Silent, Kind::Silent]));
    assert!(world.run(2_000).done.is_none());
    assert!(world.kept.begun == 0 && world.kept.asked[1] >= 90, "{:?}", world.kept.asked);
}

#[test]
fn nothing_older_than_what_is_here_is_taken() {
    // its vote log has let go of what is final here: with an older state it would not know what it said
    let source = Source::new(4, HEIGHT, 60, 100);
    let mut world = World::above(source.clone(), kinds(4, &[]), HEIGHT + 1);
    assert!(world.run(400).done.is_none());
    assert!(world.kept.begun == 0 && world.kept.asked[1] > 10, "it asks on: {:?}", world.kept.asked);
    check(&source, World::above(source.clone(), kinds(4, &[]), HEIGHT).run(ENOUGH));
}

#[test]
fn a_newcomer_takes_no_state_from_before_its_epoch() {
    // in that state it has no seat: it could go neither on nor back
    let source = Source::new(4, HEIGHT, 60, 100);
    let mut world = World::newcomer(source.clone(), kinds(4, &[]), HEIGHT + 1);
    assert!(world.run(400).done.is_none());
    assert!(world.kept.begun == 0 && world.kept.asked[1] > 10, "it asks on: {:?}", world.kept.asked);
    check(&source, World::newcomer(source.clone(), kinds(4, &[]), HEIGHT).run(ENOUGH));
}

#[test]
fn a_chain_without_blocks_has_nothing_to_copy() {
    let mut source = Source::new(4, 0, 60, 0);
    source.header.height = 0;
    let mut world = World::new(source, kinds(4, &[]));
    world.genesis();
    assert_eq!(world.run(100).done, Some(None));
}

#[test]
fn what_was_not_asked_for_is_nothing() {
    let source = Source::new(4, HEIGHT, 60, 100);
    let mut world = World::new(source.clone(), kinds(4, &[]));
    for piece in [Piece::Manifest, Piece::Log(0), Piece::State { depth: 4, index: 0 }] {
        let asked = Asked { height: HEIGHT, piece };
        for content in [Content::Gone, Content::State(vec![]), source.content(piece)] {
            for from in [0, 1, 9] {
                world.step(TransferInput::Told(from, Told { asked, content: content.clone() }));
            }
        }
    }
    assert!(world.kept.begun == 0 && world.kept.lies.is_empty() && world.kept.rows.is_empty());
    check(&source, world.run(ENOUGH));
}
