//! `chartseal connector send`: the other side of an MLLP listener, for trying one out and for replaying files. It prints what
//! was acknowledged, never a message.

use std::path::PathBuf;

use connectors_mllp::{MllpSender, SendError, SenderConfig};
use schemas::ErrorClass;
use serde_json::json;

use crate::commands::run::runtime;
use crate::failure::{Exit, Failure, Outcome, read};
use crate::output::{Output, bad, good};

/// Arguments of `connector send`.
#[derive(clap::Args)]
pub struct Args {
    /// The listener, `host:port`.
    address: String,
    /// Files of one message each, sent in this order over one connection.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// PEM certificates that vouch for the listener: with them the connection is TLS.
    #[arg(long, value_name = "F")]
    tls_roots: Option<PathBuf>,
    /// PEM certificate chain that is shown to the listener.
    #[arg(long, value_name = "F", requires_all = ["tls_key", "tls_roots"])]
    tls_certificate: Option<PathBuf>,
    /// Its PEM key.
    #[arg(long, value_name = "F", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Longest wait for an acknowledgement, in milliseconds.
    #[arg(long, default_value_t = 30_000, value_name = "N")]
    timeout_ms: u64,
}

/// Runs the command.
pub fn run(args: &Args, output: Output) -> Outcome {
    if args.address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
        let found = format!("found `{}`, expected a listener as `host:port`, such as 127.0.0.1:2575", args.address);
        return Err(Failure::usage(found));
    }
    let config = SenderConfig {
        address: args.address.clone(),
        tls_roots: args.tls_roots.clone(),
        tls_identity: args.tls_certificate.clone().zip(args.tls_key.clone()),
        timeout_ms: args.timeout_ms,
    };
    let mut sender = MllpSender::new(config).map_err(Failure::usage)?;
    runtime()?.block_on(async {
        let (mut answers, mut refused) = (Vec::new(), 0);
        for file in &args.files {
            let answer = sender.send(&read(file)?).await.map_err(failure)?;
            let code = answer.as_ref().map_or("none wanted", |answer| answer.code.as_str());
            let is_good = answer.as_ref().is_none_or(connectors_mllp::Acknowledged::is_positive);
            refused += usize::from(!is_good);
            output.line(format_args!("{} {}", if is_good { good(code) } else { bad(code) }, file.display()));
            answers.push(json!({ "file": file, "code": code, "accepted": is_good }));
        }
        output.document(&answers)?;
        Ok(if refused == 0 { Exit::Done } else { Exit::Failed })
    })
}

fn failure(error: SendError) -> Failure {
    match error.class() {
        ErrorClass::Transient => Failure::new(Exit::TryAgain, error),
        _ => Failure::new(Exit::Failed, error),
    }
}
