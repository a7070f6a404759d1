//! What the validators of this process say at the level that everybody sees, kept for tests to wait for.

use std::fmt::{Debug, Write as _};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static LINES: OnceLock<watch::Sender<Vec<String>>> = OnceLock::new();

/// Begins to listen; once for the process.
pub fn listen() {
    LINES.get_or_init(|| {
        tracing::subscriber::set_global_default(Listener).expect("nobody else listens");
        watch::Sender::new(vec![])
    });
}

/// Waits for a line that holds all of these; the line.
pub async fn said(parts: &[&str]) -> String {
    let mut lines = LINES.get().expect("it listens").subscribe();
    let find = |lines: &Vec<String>| lines.iter().find(|line| parts.iter().all(|part| line.contains(part))).cloned();
    let found = tokio::time::timeout(Duration::from_secs(20), lines.wait_for(|lines| find(lines).is_some())).await;
    let Ok(found) = found else { panic!("no line with {parts:?} in {:#?}", LINES.get().expect("it listens").borrow()) };
    find(&found.expect("it listens")).expect("it was found")
}

/// What was said by now with all of these.
pub fn all(parts: &[&str]) -> Vec<String> {
    let lines = LINES.get().expect("it listens").borrow();
    lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).cloned().collect()
}

struct Listener;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("a string");
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        if let Some(lines) = LINES.get() {
            lines.send_modify(|lines| lines.push(line.0));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
