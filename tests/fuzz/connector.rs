//! A connector's file: whatever it says, it is refused with line and column, or it makes sense; what stands outside of it for
//! being secret turns up in no error. It must never need a file but the one it makes.

use std::fs;

use gateway_server::config::connector::{KINDS, parse};

use crate::targets::{Target, target};

/// What variables and the secret file hold: with what TOML and error messages escape.
const SECRET: &str = "Kana\"rien\\vogelbauer";
/// A part of it that nothing escapes.
const TOLD: &str = "vogelbauer";
/// An error may repeat a text, every letter of it escaped, with what was expected and the nearest name.
const ERROR_BYTES_PER_BYTE: usize = 20;
/// The rest of it.
const ERROR_BYTES_BASE: usize = 4_000;

const SAMPLES: [&str; 6] = [
    r#"# the laboratory; not "${NOTHING}"
kind = "amqp"
url = "amqp://lab:${WARD}@127.0.0.1:5672/%2f"
queue = 'chartseal.lab'
bindings = ["oru.#", "oul.#"]
prefetch = 64 # at once
"#,
    r#"kind = "mllp"
name = "ward-3"
listen = "0.0.0.0:2575"
tls_certificate = "${file:word}"
tls_key = '/etc/${WARD}/key.pem'
tls_clients = "clients.pem"
connections_max = 8
unsettled_max = 16
message_bytes_max = 1_000_000
idle_ms = 60_000
[application_ack]
address = "${WARD}.example:6700"
tls_roots = "${file:word}"
"#,
    r#"kind="amqp"
url_file = "rabbit.url"
exchange = "hospital.${WARD}"
content_type = "x-application/hl7-v2+er7"
"#,
    "kind = 'mllp'\r\nlisten = '10.0.0.1:2575'\r\ntrusted_network = true\r\n",
    r#"kind = "fhir"
types = ["Patient", "Observation"]
mode = "history"
since = "2026-01-01T00:00:00Z"
[server]
base = "https://ehr.example/${WARD}/fhir"
tls_roots = "${WARD}.pem"
[server.login]
client_id = "${WARD}"
key_file = "login.key"
key_id = "${file:word}"
scopes = ["system/*.rs"]
"#,
    "kind = 'fhir-hook'\nsecret_file = 'hook.secret'\n[server]\nbase = 'http://127.0.0.1/fhir'\ntoken_file = 'token'\n",
];

pub fn connector() -> Target {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("word"), format!("{SECRET}\n")).expect("written");
    let samples = SAMPLES.iter().map(|text| text.as_bytes().to_vec()).collect();
    target("connector", samples, move |input| {
        let Ok(text) = std::str::from_utf8(input) else { return false };
        let variable = |_: &str| Some(SECRET.to_owned());
        match parse(text, &folder.path().join("lab.toml"), &variable) {
            Ok(mut connector) => {
                assert_eq!(connector.check(), Ok(()), "what was read makes sense");
                assert!(KINDS.contains(&connector.kind()) && !connector.name().is_empty());
                let absolute = connector.files_mut().into_iter().all(|file| file.is_absolute());
                assert!(absolute, "paths are taken from the folder of the file");
                true
            }
            Err(error) => {
                let said = error.to_string();
                // a file that has the word itself may hear it again, as the name of a key
                let is_told = said.contains(TOLD) || format!("{error:?}").contains(TOLD);
                assert!(!is_told || text.contains(TOLD), "a secret: {said}");
                let lines = text.matches('\n').count() + 1;
                let placed = error.place.is_none_or(|(line, column)| (1..=lines).contains(&line) && column > 0);
                assert!(placed, "{said}: {lines} lines");
                assert!(said.len() <= ERROR_BYTES_PER_BYTE * text.len() + ERROR_BYTES_BASE, "{} bytes", said.len());
                false
            }
        }
    })
}
