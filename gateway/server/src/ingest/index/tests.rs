//! Versions and heads: formats.md §1.

use schemas::id::{CaseId, Digest, SubjectId};

use super::versions;
use crate::store::units::{Head, UnitRow};

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
        summary: Vec::new(),
    }
}

fn head(row: &UnitRow) -> Head {
    Head { id: 77, chain: (row.logical_id.clone(), row.subject), order: row.order(), content: row.content }
}

#[test]
fn equal_content_adds_no_version() {
    let (added, beheaded) = versions(vec![head(&row(1, 9, (3, 1, 1)))], vec![row(2, 9, (3, 5, 2))]);
    assert!(added.is_empty() && beheaded.is_empty());
}

#[test]
fn a_late_preliminary_is_a_version_but_no_head() {
    let (added, beheaded) = versions(vec![head(&row(1, 9, (3, 1, 1)))], vec![row(2, 8, (2, 5, 2))]);
    assert!(!added[0].is_head);
    assert!(beheaded.is_empty());
}

#[test]
fn the_highest_order_is_the_one_head_within_and_across_batches() {
    let new = vec![row(2, 8, (3, 5, 2)), row(3, 7, (3, 4, 3)), row(4, 6, (4, 1, 4))];
    let (added, beheaded) = versions(vec![head(&row(1, 9, (3, 1, 1)))], new);
    let heads: Vec<_> = added.iter().filter(|r| r.is_head).map(|r| r.case.0[0]).collect();
    assert_eq!(heads, [4]);
    assert_eq!(added.iter().map(|r| r.case.0[0]).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(beheaded, [77]);
}

#[test]
fn another_subjects_chain_is_another_chain() {
    let mut other = row(2, 9, (0, 0, 2));
    other.subject = SubjectId([2; 16]);
    let (added, _) = versions(vec![head(&row(1, 9, (0, 0, 1)))], vec![other]);
    assert!(added[0].is_head);
}
