//! Sees that every decoder comes back: an input that one is still busy with after a long while is shown, and the run ends. It
//! must never wait for the decoder, nor look at what it does.

use std::io::Write as _;
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use schemas::id::to_hex;

/// A decoder that is busy with one input for this long does not come back: the slowest takes some milliseconds.
const BUSY_MAX: Duration = Duration::from_secs(60);

/// What is being run.
#[derive(Default)]
struct Busy {
    target: &'static str,
    input: Vec<u8>,
    inputs: u64,
}

/// Watches while it lives.
pub struct Watch {
    busy: Arc<Mutex<Busy>>,
    _alive: Sender<()>,
}

impl Watch {
    pub fn start() -> Self {
        let busy = Arc::new(Mutex::new(Busy::default()));
        let watched = Arc::clone(&busy);
        let (alive, ended) = mpsc::channel::<()>();
        thread::spawn(move || {
            let mut seen = None;
            // ends when the sender is dropped
            while ended.recv_timeout(BUSY_MAX) == Err(RecvTimeoutError::Timeout) {
                let busy = watched.lock().unwrap_or_else(PoisonError::into_inner);
                if seen == Some(busy.inputs) {
                    end(&busy);
                }
                seen = Some(busy.inputs);
            }
        });
        Self { busy, _alive: alive }
    }

    /// A target begins with an input.
    pub fn begins(&self, target: &'static str, input: &[u8]) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.target = target;
        busy.input.clear();
        busy.input.extend_from_slice(input);
        busy.inputs += 1;
    }
}

/// The test's own thread is lost: only the process can end.
fn end(busy: &Busy) -> ! {
    let Busy { target, input, .. } = busy;
    let shown = to_hex(input);
    let said = format!("{target} does not come back; put this into tests/fuzz/corpus/{target}/NAME.hex: {shown}\n");
    // not through a macro: what those print is held back until the test ends
    drop(std::io::stderr().write_all(said.as_bytes()));
    process::exit(1)
}
