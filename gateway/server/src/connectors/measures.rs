//! Connectors on `/metrics`: for each of them what an alert looks at. Made when it is asked for, so that one that is no more has no line.
//! It must never hold anything but names of the configuration and numbers.

use std::fmt::Write as _;

use super::ConnectorState;

/// What is told of each: name, kind of measure, what it is.
type Measure = (&'static str, &'static str, &'static str, fn(&ConnectorState, u64) -> Option<u64>);

const MEASURES: [Measure; 6] = [
    ("connected", "gauge", "Whether messages can arrive", |c, _| Some(c.connected.into())),
    ("paused", "gauge", "Whether an operator stopped it", |c, _| Some(c.paused.into())),
    ("faulty", "gauge", "Whether it cannot be started", |c, _| Some(c.fault.is_some().into())),
    ("unsettled", "gauge", "Messages taken and not yet settled", |c, _| Some(c.unsettled)),
    ("reconnects_total", "counter", "Connections made again", |c, _| Some(c.reconnects)),
    (
        "last_message_age_seconds",
        "gauge",
        "Time since the last message came; none came yet where it is missing",
        |c, now| Some(now.saturating_sub(c.last_delivery?) / 1_000),
    ),
];

/// The text of all, in the format of Prometheus. `now` in milliseconds.
pub fn measures(states: &[ConnectorState], now: u64) -> String {
    let mut out = String::new();
    for (name, kind, about, of) in MEASURES {
        // writing to a String cannot fail
        let _ = writeln!(out, "# HELP chartseal_connector_{name} {about}\n# TYPE chartseal_connector_{name} {kind}");
        for state in states {
            let Some(value) = of(state, now) else { continue };
            let connector = plain(&state.name);
            let _ = writeln!(
                out,
                "chartseal_connector_{name}{{connector=\"{connector}\",kind=\"{}\"}} {value}",
                state.kind
            );
        }
    }
    out
}

/// A file's name may be any: what has a meaning in a label is left out.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connector_has_a_line_for_each_measure_that_it_has() {
        let state = |name: &str, last_delivery| ConnectorState {
            name: name.into(),
            kind: "mllp",
            paused: false,
            connected: true,
            unsettled: 3,
            reconnects: 2,
            careful: 0,
            last_delivery,
            fault: None,
            why: None,
        };
        let text = measures(&[state("ward-3", Some(1_000)), state("x\"} 1\n", None)], 61_500);
        assert!(text.contains("# TYPE chartseal_connector_reconnects_total counter\n"), "{text}");
        assert!(text.contains("chartseal_connector_connected{connector=\"ward-3\",kind=\"mllp\"} 1\n"), "{text}");
        assert!(text.contains("last_message_age_seconds{connector=\"ward-3\",kind=\"mllp\"} 60\n"), "{text}");
        assert!(text.contains("chartseal_connector_unsettled{connector=\"x1\",kind=\"mllp\"} 3\n"), "{text}");
        assert_eq!(text.matches("last_message_age_seconds{").count(), 1, "{text}");
    }
}
