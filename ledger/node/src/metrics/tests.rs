//! Every moment has its line, and a status its word.

use schemas::transaction::Refusal;

use super::*;

#[test]
fn what_happened_is_in_the_text() {
    let metrics = Metrics::new().unwrap();
    [200, 202, 202, 400, 429].into_iter().for_each(|status| metrics.submitted(status));
    let outcomes = [Outcome::Accepted, Outcome::Refused(Refusal::IdUsed), Outcome::Accepted];
    metrics.executed(Duration::from_millis(3), outcomes.into_iter());
    metrics.synced(Duration::from_millis(1));
    metrics.blamed.inc();
    let now = Now { height: 9, certified: 8, view: 2, waiting: 5, waiting_bytes: 500, peers: 3 };
    let text = metrics.to_text(&now);
    for line in [
        "submitted_total{status=\"known\"} 1",
        "submitted_total{status=\"taken\"} 2",
        "submitted_total{status=\"refused\"} 1",
        "submitted_total{status=\"no_room\"} 1",
        "executed_total{verdict=\"accepted\"} 2",
        "executed_total{verdict=\"refused\"} 1",
        "execution_seconds_bucket{le=\"0.005\"} 1",
        "sync_seconds_count 1",
        "dropped_total 0",
        "blamed_total 1",
        "height 9",
        "certified_height 8",
        "view 2",
        "waiting_bytes 500",
        "peers 3",
    ] {
        assert!(text.contains(&format!("chartseal_node_{line}\n")), "{line}: {text}");
    }
}
