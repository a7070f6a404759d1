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
    metrics.worked(Step::Hash, Duration::from_millis(250));
    assert!((0..32).all(|_| metrics.verifications.time(|| true)) && !metrics.verifications.time(|| false));
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
        "verifications_total 33",
        "on_core_seconds_total{step=\"hash\"} 0.25",
        "height 9",
        "certified_height 8",
        "view 2",
        "waiting_bytes 500",
        "peers 3",
    ] {
        assert!(text.contains(&format!("chartseal_node_{line}\n")), "{line}: {text}");
    }
}

#[test]
fn the_clock_of_a_core_stands_still_while_a_thread_waits() {
    let (mut clock, started) = (OnCore::of_thread(), std::time::Instant::now());
    let (_open, nothing) = std::sync::mpsc::channel::<()>();
    assert!(nothing.recv_timeout(Duration::from_millis(50)).is_err());
    let waited = clock.lap();
    assert!(waited < started.elapsed() / 2, "found {waited:?} on a core while the thread waited");
    let mut sum = 0u64;
    while clock.1 == now_of(clock.0) {
        sum = std::hint::black_box(sum + 1);
    }
    assert!(clock.lap() > Duration::ZERO, "work is on a core");
}
