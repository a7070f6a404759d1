//! Replays, as operators ask for them: counted, begun, looked at, stopped. Counts and names only, never a byte of a message.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Hands, Operator, UNKNOWN, failed, is_known, status_of};
use crate::replays::{Asked, ReplayError, ReplayState};

/// How many messages are meant: what an operator sees before anything is opened.
pub(super) async fn count(
    State(on): State<Hands>,
    _: Operator,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    match is_known(&on, &name).await {
        Ok(true) => {}
        Ok(false) => return (StatusCode::NOT_FOUND, UNKNOWN).into_response(),
        Err(error) => return status_of(error.class()),
    }
    let counted = on.replays.count(&name, asked).await;
    counted.map_or_else(|error| refused(&error), |messages| Json(json!({ "messages": messages })).into_response())
}

/// Begins one; the same again while it runs shows how far it is.
pub(super) async fn begin(
    State(on): State<Hands>,
    Operator(operator): Operator,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let begun = on.replays.begin(&name, asked, &operator).await;
    begun.map_or_else(|error| refused(&error), |state| Json(state).into_response())
}

/// How far the last one is.
pub(super) async fn state(State(on): State<Hands>, _: Operator, Path(name): Path<String>) -> Response {
    shown(on.replays.state(&name))
}

/// Stops one.
pub(super) async fn stop(State(on): State<Hands>, Operator(operator): Operator, Path(name): Path<String>) -> Response {
    if let Err(error) = on.dead_letters.note(&operator, "stop replay", format!("connector {name}")).await {
        return failed(&error);
    }
    shown(on.replays.stop(&name))
}

fn shown(state: Option<ReplayState>) -> Response {
    let none = "no replay of this connector was begun since the gateway started; begun again, it finds done what is\n";
    state.map_or_else(|| (StatusCode::NOT_FOUND, none).into_response(), |state| Json(state).into_response())
}

fn refused(error: &ReplayError) -> Response {
    match error {
        ReplayError::Running => (StatusCode::CONFLICT, format!("{error}\n")).into_response(),
        ReplayError::Store(_) => status_of(error.class()),
    }
}
