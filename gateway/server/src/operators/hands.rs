//! What operators may change: connectors paused, resumed, drained, the configuration loaded again, dead letters shown, retried and
//! discarded, indexed messages mapped again. All of it needs the token in the gateway's home, which only its own user can read, and all of
//! it is written down with the name that the caller gives. No answer but `show` holds a byte of a message.

mod replay;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path as PathPart, Query, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use schemas::ErrorClass;
use schemas::cbor::sha256;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;

use super::{PartState, status_of};
use crate::config::ConnectorConfig;
use crate::connectors::{ConnectorState, Connectors};
use crate::dead_letters::{DeadLetterError, DeadLetters, MOST};
use crate::imports::{Asked as Import, ImportError, ImportState, Imports};
use crate::replays::Replays;
use crate::store::StoreError;
use crate::store::dead_letters::{DeadLetter, Filter, deeds};
use crate::store::inbox::{Passing, Which, has_brought, passing};
use crate::telemetry::Metrics;

/// The token's file in the gateway's home.
pub const TOKEN_FILE: &str = "operators.token";
/// Who asks, for the list of deeds.
pub const OPERATOR: &str = "x-chartseal-operator";
/// Length of the token, in hex digits.
const TOKEN_DIGITS: usize = 64;
/// Longest name of an operator, in bytes.
const OPERATOR_BYTES_MAX: usize = 64;
/// Deeds of one list.
const DEEDS_MAX: usize = 1_000;

/// How far a message is, by `inbox::State`.
const STATES: [&str; 6] = ["received", "sealed", "anchored", "refused", "empty", "sealed"];

/// What was read again.
#[derive(Clone, Debug)]
pub struct Reread {
    /// The connectors of now.
    pub connectors: Vec<ConnectorConfig>,
    /// Whether what messages are mapped with is another than before: tables, zone, authorities.
    pub tables: bool,
    /// Keys of the gateway's file that are taken over by a restart only, and are not as they were.
    pub restart: Vec<&'static str>,
}

/// Reads the configuration again; gives what it found, or what is wrong.
pub type Reload = Arc<dyn Fn() -> Result<Reread, String> + Send + Sync>;

/// The operators' hands. Cheap to clone.
#[derive(Clone)]
pub struct Hands {
    /// Hash of the token.
    pub token: [u8; 32],
    /// The running connectors.
    pub connectors: Connectors,
    /// Bulk imports.
    pub imports: Imports,
    /// Messages that are mapped again.
    pub replays: Replays,
    /// Refused messages.
    pub dead_letters: DeadLetters,
    /// The configuration, read again.
    pub reload: Reload,
    /// Measures.
    pub metrics: Metrics,
}

/// The token's file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: found {found}, expected 64 hex digits in a file that only its owner can read (mode 0600); remove it for a new one", .file.display())]
pub struct TokenError {
    file: PathBuf,
    found: String,
}

/// The hash of the token in a gateway's home; a new token where there is none.
///
/// # Errors
/// `TokenError`.
pub fn token(home: &Path) -> Result<[u8; 32], TokenError> {
    let file = home.join(TOKEN_FILE);
    let fault = |found: String| TokenError { file: file.clone(), found };
    let unusable = |e: std::io::Error| fault(e.to_string());
    if !file.exists() {
        create(&file).map_err(unusable)?;
    }
    let mode = std::fs::metadata(&file).map_err(unusable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(fault(format!("mode {:04o}", mode & 0o7777)));
    }
    let text = std::fs::read_to_string(&file).map_err(unusable)?;
    let token = text.trim();
    if token.len() != TOKEN_DIGITS || !token.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(fault("something else".into()));
    }
    Ok(sha256(token.as_bytes()).0)
}

/// Whole or not at all: a token that was cut short would be one that can be guessed.
fn create(file: &Path) -> std::io::Result<()> {
    let mut random = [0_u8; TOKEN_DIGITS / 2];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let before = file.with_extension("new");
    drop(std::fs::remove_file(&before));
    let mut new = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&before)?;
    new.write_all(schemas::id::to_hex(&random).as_bytes())?;
    new.sync_all()?;
    std::fs::rename(&before, file)
}

/// An operator who showed the token.
struct Operator(String);

impl FromRequestParts<Hands> for Operator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &Hands) -> Result<Self, Response> {
        let shown = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // hashes: comparing them tells nothing about the token
        if sha256(shown.trim().as_bytes()).0 != state.token {
            let text = "found another token, expected that of operators.token in the gateway's home\n";
            return Err((StatusCode::UNAUTHORIZED, text).into_response());
        }
        let name = parts.headers.get(OPERATOR).and_then(|value| value.to_str().ok()).unwrap_or("unknown");
        let name: String =
            name.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(OPERATOR_BYTES_MAX).collect();
        Ok(Self(name))
    }
}

/// A query about dead letters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    id: Option<i64>,
    connector: Option<String>,
    code: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
    #[serde(default)]
    after: i64,
    max: Option<usize>,
}

impl Asked {
    fn filter(&self) -> Filter {
        Filter {
            id: self.id,
            connector: self.connector.clone(),
            code: self.code.clone(),
            since: self.since,
            until: self.until,
        }
    }
}

/// A query about passing messages.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tapped {
    after: Option<i64>,
    /// Rows that were seen before, with commas between them.
    ids: Option<String>,
    max: Option<usize>,
}

impl Tapped {
    fn ids(&self) -> Option<Result<Vec<i64>, std::num::ParseIntError>> {
        self.ids.as_deref().map(|ids| ids.split(',').take(MOST).map(str::parse).collect())
    }
}

/// A dead letter with what to do about it.
#[derive(Serialize)]
struct Shown {
    id: i64,
    connector: String,
    content_type: String,
    received: i64,
    code: String,
    path: String,
    class: String,
    attempts: u32,
    retriable: bool,
    hint: &'static str,
}

impl From<DeadLetter> for Shown {
    fn from(letter: DeadLetter) -> Self {
        let hint = crate::dead_letters::hint(&letter.code);
        let DeadLetter { id, connector, content_type, received, code, path, class, attempts, known } = letter;
        let retriable = known || code == "too-large";
        Self { id, connector, content_type, received, code, path, class, attempts: attempts + 1, retriable, hint }
    }
}

/// The routes.
pub fn router(hands: Hands) -> Router {
    Router::new()
        .route("/connectors", get(connectors))
        .route("/connectors/{name}/messages", get(messages))
        .route("/connectors/{name}/import", get(importing).post(import))
        .route("/connectors/{name}/import/stop", post(stop_import))
        .route("/connectors/{name}/replay", get(replay::state).post(replay::begin))
        .route("/connectors/{name}/replay/count", get(replay::count))
        .route("/connectors/{name}/replay/stop", post(replay::stop))
        .route("/connectors/{name}/{deed}", post(change))
        .route("/reload", post(reload))
        .route("/dead-letters", get(list))
        .route("/dead-letters/count", get(count))
        .route("/dead-letters/retry", post(retry))
        .route("/dead-letters/discard", post(discard))
        .route("/dead-letters/{id}/raw", get(show))
        .route("/deeds", get(log))
        .layer(CatchPanicLayer::new())
        .with_state(hands)
}

/// What `/readyz` says of connectors.
pub fn parts(connectors: &Connectors) -> Vec<(String, PartState)> {
    let part = |connector: ConnectorState| {
        let detail = match (&connector.fault, connector.paused, connector.connected) {
            (Some(_), _, _) => "cannot be started: see the log",
            (None, true, _) => "paused",
            (None, false, true) => "consumes",
            (None, false, false) => "not connected",
        };
        let ready = connector.fault.is_none() && (connector.connected || connector.paused);
        (format!("connector {}", connector.name), PartState { ready, detail: detail.to_owned() })
    };
    connectors.list().into_iter().map(part).collect()
}

async fn connectors(State(on): State<Hands>, _: Operator) -> Response {
    Json(on.connectors.list()).into_response()
}

async fn change(
    State(on): State<Hands>,
    Operator(operator): Operator,
    PathPart((name, deed)): PathPart<(String, String)>,
) -> Response {
    let connectors = &on.connectors;
    let known = connectors.list().iter().any(|state| state.name == name);
    if !known {
        return (StatusCode::NOT_FOUND, "found no connector of this name\n").into_response();
    }
    if let Err(error) = on.dead_letters.note(&operator, &deed, format!("connector {name}")).await {
        return failed(&error);
    }
    let done = match deed.as_str() {
        "pause" => connectors.pause(&name).await.map(|_| json!({ "paused": name })),
        "resume" => connectors.resume(&name).await.map(|_| json!({ "resumed": name })),
        "drain" => connectors.drain(&name).await.map(|drained| json!({ "paused": name, "drained": drained })),
        _ => return (StatusCode::NOT_FOUND, "expected pause, resume or drain\n").into_response(),
    };
    done.map_or_else(|error| status_of(error.class()), |done| Json(done).into_response())
}

/// Begins a bulk import; the same again while it runs shows how far it is.
async fn import(
    State(on): State<Hands>,
    Operator(operator): Operator,
    PathPart(name): PathPart<String>,
    Query(asked): Query<Import>,
) -> Response {
    if let Err(error) = on.dead_letters.note(&operator, "import", format!("connector {name}")).await {
        return failed(&error);
    }
    match on.imports.begin(&name, asked) {
        Ok(state) => Json(state).into_response(),
        Err(error) => {
            let status = match &error {
                ImportError::Unknown => StatusCode::NOT_FOUND,
                ImportError::Running => StatusCode::CONFLICT,
                ImportError::Ended => StatusCode::SERVICE_UNAVAILABLE,
                ImportError::Fhir(_) => StatusCode::UNPROCESSABLE_ENTITY,
            };
            (status, format!("{error}\n")).into_response()
        }
    }
}

fn import_state(state: Option<ImportState>) -> Response {
    let none =
        "no import of this connector was begun since the gateway started; begun again, it takes what is missing\n";
    state.map_or_else(|| (StatusCode::NOT_FOUND, none).into_response(), |state| Json(state).into_response())
}

async fn importing(State(on): State<Hands>, _: Operator, PathPart(name): PathPart<String>) -> Response {
    import_state(on.imports.state(&name))
}

async fn stop_import(
    State(on): State<Hands>,
    Operator(operator): Operator,
    PathPart(name): PathPart<String>,
) -> Response {
    if let Err(error) = on.dead_letters.note(&operator, "stop import", format!("connector {name}")).await {
        return failed(&error);
    }
    import_state(on.imports.stop(&name))
}

const UNKNOWN: &str = "found no connector of this name; `chartseal connector status` shows which there are\n";

/// Whether there is a connector of this name, or was one that brought something.
async fn is_known(on: &Hands, name: &str) -> Result<bool, StoreError> {
    let runs = on.connectors.list().iter().any(|state| state.name == name);
    Ok(runs || has_brought(&on.dead_letters.store, name).await?)
}

/// What a connector brought, as it goes its way: ids, times and how far it is.
async fn messages(
    State(on): State<Hands>,
    Operator(operator): Operator,
    PathPart(name): PathPart<String>,
    Query(asked): Query<Tapped>,
) -> Response {
    let ids = match asked.ids().transpose() {
        Ok(ids) => ids,
        Err(_) => {
            return (StatusCode::UNPROCESSABLE_ENTITY, "ids: expected numbers with commas between them\n")
                .into_response();
        }
    };
    let which = match (&ids, asked.after) {
        (Some(ids), _) => Which::These(ids),
        (None, Some(after)) => Which::After(after),
        (None, None) => Which::Newest,
    };
    // the first look of one that follows: the others belong to it
    if which == Which::Newest {
        match is_known(&on, &name).await {
            Ok(true) => {}
            Ok(false) => return (StatusCode::NOT_FOUND, UNKNOWN).into_response(),
            Err(error) => return status_of(error.class()),
        }
        if let Err(error) = on.dead_letters.note(&operator, "tap", format!("connector {name}")).await {
            return failed(&error);
        }
    }
    let most = asked.max.unwrap_or(MOST).min(MOST);
    match passing(&on.dead_letters.store, &name, which, most).await {
        Ok(all) => Json(all.into_iter().map(tapped).collect::<Vec<_>>()).into_response(),
        Err(error) => status_of(error.class()),
    }
}

fn tapped(one: Passing) -> serde_json::Value {
    let at = usize::try_from(one.state).unwrap_or(usize::MAX);
    let state = STATES.get(at).copied().unwrap_or("unknown");
    let mut line = json!({ "id": one.id, "received": one.received, "state": state, "attempts": one.attempts + 1 });
    if let Some(code) = one.code {
        line["code"] = code.into();
    }
    line
}

async fn reload(State(on): State<Hands>, Operator(operator): Operator) -> Response {
    // whoever asked may hang up: what was stopped is begun again all the same
    let whole = tokio::spawn(reload_all(on, operator));
    whole.await.unwrap_or_else(|_| status_of(ErrorClass::Bug))
}

async fn reload_all(on: Hands, operator: String) -> Response {
    let read = Arc::clone(&on.reload);
    let read = match tokio::task::spawn_blocking(move || read()).await {
        Ok(Ok(read)) => read,
        // the old set keeps running
        Ok(Err(fault)) => {
            on.metrics.reload_failed(true);
            tracing::error!("the configuration was not loaded again: {fault}");
            return (StatusCode::UNPROCESSABLE_ENTITY, format!("{fault}\n")).into_response();
        }
        Err(_) => return status_of(ErrorClass::Bug),
    };
    on.metrics.reload_failed(false);
    let done = match on.connectors.reload(read.connectors).await {
        Ok(done) => done,
        Err(error) => return status_of(error.class()),
    };
    let changed = done.started.len() + done.stopped.len() + done.restarted.len();
    let answer = json!({
        "started": done.started, "stopped": done.stopped, "restarted": done.restarted, "unchanged": done.unchanged,
        "tables": read.tables, "restart": read.restart,
    });
    match on.dead_letters.note(&operator, "reload", format!("{changed} connectors changed")).await {
        Ok(()) => Json(answer).into_response(),
        Err(error) => failed(&error),
    }
}

async fn list(State(on): State<Hands>, _: Operator, Query(asked): Query<Asked>) -> Response {
    match on.dead_letters.list(&asked.filter(), asked.after, asked.max.unwrap_or(MOST)).await {
        Ok(letters) => Json(letters.into_iter().map(Shown::from).collect::<Vec<_>>()).into_response(),
        Err(error) => failed(&error),
    }
}

async fn count(State(on): State<Hands>, _: Operator, Query(asked): Query<Asked>) -> Response {
    on.dead_letters.count(&asked.filter()).await.map_or_else(|e| failed(&e), |all| Json(all).into_response())
}

async fn retry(State(on): State<Hands>, Operator(operator): Operator, Query(asked): Query<Asked>) -> Response {
    let done = on.dead_letters.retry(asked.filter(), &operator).await;
    done.map_or_else(|e| failed(&e), |done| Json(done).into_response())
}

async fn discard(State(on): State<Hands>, Operator(operator): Operator, Query(asked): Query<Asked>) -> Response {
    let done = on.dead_letters.discard(&asked.filter(), &operator).await;
    done.map_or_else(|e| failed(&e), |count| Json(json!({ "discarded": count })).into_response())
}

async fn show(State(on): State<Hands>, Operator(operator): Operator, PathPart(id): PathPart<i64>) -> Response {
    match on.dead_letters.show(id, &operator).await {
        Ok(Some(bytes)) => ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => failed(&error),
    }
}

async fn log(State(on): State<Hands>, _: Operator) -> Response {
    match deeds(&on.dead_letters.store, DEEDS_MAX).await {
        Ok(all) => {
            let line = |d: crate::store::dead_letters::OperatorDeed| json!({ "at": d.at, "operator": d.operator, "deed": d.deed, "about": d.about });
            Json(all.into_iter().map(line).collect::<Vec<_>>()).into_response()
        }
        Err(error) => status_of(error.class()),
    }
}

fn failed(error: &DeadLetterError) -> Response {
    let status = StatusCode::from_u16(error.class().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, format!("{error}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_whole_and_private_or_none() {
        let home = tempfile::tempdir().expect("a folder");
        let first = token(home.path()).expect("a new one");
        assert_eq!(token(home.path()).expect("the same"), first);
        let file = home.path().join(TOKEN_FILE);
        let good = std::fs::read_to_string(&file).expect("there");
        for broken in ["", "\n", &good[..63], &good.replace(&good[..1], "x")] {
            std::fs::write(&file, broken).expect("written");
            token(home.path()).expect_err("no token");
        }
        std::fs::write(&file, &good).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("changed");
        assert!(token(home.path()).expect_err("others can read it").to_string().contains("mode 0640"));
    }
}
