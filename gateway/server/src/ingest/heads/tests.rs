//! Versions and heads: formats.md §1.

use schemas::id::{CaseId, Digest, SubjectId};

use super::{Heads, Placed};
use crate::store::units::UnitRow;

fn row(case: u8, content: u8, order: (i64, i64, i64)) -> UnitRow {
    UnitRow {
        case: CaseId([case; 16]),
        unit: 0,
        subject: SubjectId([1; 16]),
        resource_type: "Observation".into(),
        logical_id: "x".into(),
        is_head: false,
        status_rank: order.0,
        event_time: order.1,
        arrived: order.2,
        content: Digest([content; 32]),
    }
}

/// What is known when this row is a head.
fn known(row: &UnitRow) -> Heads {
    Heads([(row.chain(), (row.order(), row.content))].into())
}

#[test]
fn equal_content_adds_no_version() {
    let Placed { added, beheaded, .. } = known(&row(1, 9, (3, 1, 1))).place(vec![row(2, 9, (3, 5, 2))]);
    assert!(added.is_empty() && beheaded.is_empty());
}

#[test]
fn what_was_said_before_the_head_was_said_again_is_no_head() {
    let mut heads = known(&row(1, 9, (3, 1, 1)));
    let placed = heads.place(vec![row(2, 9, (3, 5, 2)), row(3, 8, (3, 4, 3)), row(4, 7, (3, 5, 4))]);
    assert_eq!(placed.raised.values().collect::<Vec<_>>(), [&5]);
    assert_eq!(placed.added.iter().map(|r| (r.case.0[0], r.is_head)).collect::<Vec<_>>(), [(3, false), (4, true)]);
    // a head of the same batch, and one that has one version only
    let placed = heads.place(vec![row(5, 6, (3, 6, 5)), row(6, 6, (3, 8, 6)), row(7, 5, (3, 7, 7))]);
    assert!(placed.raised.is_empty() && placed.added[0].event_time == 8 && !placed.added[1].is_head);
    let of = |row: UnitRow| UnitRow { resource_type: "Location".into(), ..row };
    let placed = known(&of(row(1, 9, (0, 1, 1)))).place(vec![of(row(2, 9, (0, 5, 2)))]);
    assert!(placed.raised.is_empty());
}

#[test]
fn a_late_preliminary_is_a_version_but_no_head() {
    let Placed { added, beheaded, .. } = known(&row(1, 9, (3, 1, 1))).place(vec![row(2, 8, (2, 5, 2))]);
    assert!(!added[0].is_head);
    assert!(beheaded.is_empty());
}

#[test]
fn the_highest_order_is_the_one_head_within_and_across_batches() {
    let new = vec![row(2, 8, (3, 5, 2)), row(3, 7, (3, 4, 3)), row(4, 6, (4, 1, 4))];
    let mut heads = known(&row(1, 9, (3, 1, 1)));
    let Placed { added, beheaded, .. } = heads.place(new);
    let marked: Vec<_> = added.iter().filter(|r| r.is_head).map(|r| r.case.0[0]).collect();
    assert_eq!(marked, [4]);
    assert_eq!(added.iter().map(|r| r.case.0[0]).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(beheaded, [("Observation".to_owned(), "x".to_owned(), SubjectId([1; 16]))]);
    let Placed { added, .. } = heads.place(vec![row(5, 6, (4, 2, 5)), row(6, 5, (4, 0, 6))]);
    assert_eq!(
        added.iter().map(|r| (r.case.0[0], r.is_head)).collect::<Vec<_>>(),
        [(6, false)],
        "heads are remembered"
    );
}

#[test]
fn another_subjects_chain_is_another_chain() {
    let mut other = row(2, 9, (0, 0, 2));
    other.subject = SubjectId([2; 16]);
    let Placed { added, .. } = known(&row(1, 9, (0, 0, 1))).place(vec![other]);
    assert!(added[0].is_head);
}

#[test]
fn a_message_that_is_mapped_again_replaces_what_it_said_and_no_later_one() {
    let first = (3, 1, 1);
    let placed = known(&row(1, 9, first)).place(vec![row(2, 8, first)]);
    assert!(placed.added[0].is_head && placed.lowered.is_empty());
    assert_eq!(placed.beheaded.len(), 1);
    // two units of one case: the first of them, as ever
    let placed = Heads::default().place(vec![row(1, 9, first), UnitRow { unit: 1, ..row(1, 8, first) }]);
    assert_eq!(placed.added.iter().map(|r| r.is_head).collect::<Vec<_>>(), [true, false]);
    let placed = known(&row(1, 9, (3, 2, 2))).place(vec![row(2, 8, first)]);
    assert!(!placed.added[0].is_head && placed.late == [0]);
    // a table that lowers the head's order: the database knows what is above it now
    let placed = known(&row(1, 9, first)).place(vec![row(2, 8, (2, 1, 1))]);
    assert_eq!(placed.lowered.len(), 1);
}
