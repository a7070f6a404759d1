//! Panics of checkers and of the core are verdicts: caught, kept and not printed, whichever thread they happen in.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// A run goes on in this thread, and its last panic.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !RUNNING.get() {
                before(info);
                return;
            }
            let place = info.location().map_or(String::new(), |l| format!(" ({}:{})", l.file(), l.line()));
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default();
            LAST_PANIC.with(|last| *last.borrow_mut() = Some(text + &place));
        }));
    });
}

/// What did not hold in a run, be it an error or a panic with its place.
pub fn violation(run: impl FnOnce() -> Result<(), String>) -> Option<String> {
    keep_panics();
    RUNNING.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(run));
    RUNNING.set(false);
    match outcome {
        Ok(verdict) => verdict.err(),
        Err(_) => Some(LAST_PANIC.with(|last| last.borrow_mut().take()).unwrap_or_else(|| "panic".to_owned())),
    }
}
