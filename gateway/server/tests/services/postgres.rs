//! A database of its own for each test that runs on PostgreSQL too, on the server that `tests/run` starts. A run that was promised
//! one (`CHARTSEAL_SERVICES`) and has none fails.

use schemas::id::to_hex;
use sqlx::{AssertSqlSafe, Connection as _};

/// The URL of a new, empty database; none when this run has no server.
pub async fn fresh_database() -> Option<String> {
    let Ok(server) = std::env::var("CHARTSEAL_TEST_POSTGRES") else {
        let promised = std::env::var("CHARTSEAL_SERVICES").is_ok();
        assert!(!promised, "CHARTSEAL_SERVICES is set; found no CHARTSEAL_TEST_POSTGRES");
        return None;
    };
    sqlx::any::install_default_drivers();
    let name = format!("test_{}", to_hex(&gateway_vault::random::<8>().expect("randomness")));
    let mut connection = sqlx::AnyConnection::connect(&server).await.expect("PostgreSQL answers");
    let create = format!("CREATE DATABASE {name}");
    sqlx::query(AssertSqlSafe(create)).execute(&mut connection).await.expect("a database is made");
    let (rest, query) = server.split_once('?').map_or((&*server, String::new()), |(a, b)| (a, format!("?{b}")));
    let host = rest.find("://").map_or(0, |at| at + 3);
    let end = rest[host..].find('/').map_or(rest.len(), |at| host + at);
    Some(format!("{}/{name}{query}", &rest[..end]))
}
