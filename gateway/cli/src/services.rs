//! The private RabbitMQ of demo and bench: runs `compose/services`, which is embedded, with a pipe as its standard input, so
//! that the broker ends when we do, whatever ends us. Used where a newcomer has no broker; production has its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::Context;

use crate::failure::Failure;

const SCRIPT: &str = include_str!("../../../compose/services");
const DEFINITIONS: &str = include_str!("../../../compose/rabbitmq.json");

/// A running broker; dropping it stops it.
pub struct Broker {
    /// `amqp://user:password@127.0.0.1:port/%2f`. A secret of this folder.
    pub url: String,
    child: Child,
    input: Option<ChildStdin>,
}

impl Broker {
    /// Starts a broker whose data live in `folder`, and waits until it is ready.
    ///
    /// # Errors
    /// Unavailable, when RabbitMQ is not installed or does not start; its log is in the folder.
    pub fn start(folder: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
        let script = folder.join("services");
        let definitions = folder.join("definitions.json");
        std::fs::write(&script, SCRIPT).with_context(|| format!("{}", script.display()))?;
        std::fs::write(&definitions, DEFINITIONS).with_context(|| format!("{}", definitions.display()))?;
        let mut child = Command::new("bash")
            .arg("./services")
            .arg("rabbitmq")
            .arg("node")
            // Ours may be a folder that no longer exists.
            .current_dir(folder)
            .env("CHARTSEAL_RABBITMQ_DEFINITIONS", "definitions.json")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Failure::unavailable(format_args!("bash: {e}; expected bash to start RabbitMQ")))?;
        let input = child.stdin.take();
        let mut url = String::new();
        if let Some(stdout) = child.stdout.take() {
            // The script answers within its own time limit, or ends.
            BufReader::new(stdout).read_line(&mut url).context("the broker's script")?;
        }
        let broker = Self { url: url.trim_end().to_owned(), child, input };
        if broker.url.is_empty() {
            return Err(Failure::unavailable(
                "RabbitMQ did not start; see the message above, or run: compose/services install rabbitmq",
            ));
        }
        Ok(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The end of its input stops the script, which stops the broker.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
