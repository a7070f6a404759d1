//! Why a database cannot be opened, in words that help whoever set it up: which one, and whether nobody listens, the login is refused,
//! there is none of this name, or a right is missing. It must never say a password.

use std::io::ErrorKind;
use std::time::Duration;

use schemas::ErrorClass;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AnyConnection, Connection as _};

use super::{Engine, StoreError};

/// Longest wait for one more look at a database that did not answer, in milliseconds.
const LOOK_MS_MAX: u64 = 2_000;

/// What to say about an error of opening. A pool tries again while nobody listens and then says only that it took too long: one more look
/// says why.
pub(super) async fn fault(engine: Engine, url: &str, error: sqlx::Error) -> StoreError {
    let limit = Duration::from_millis(LOOK_MS_MAX);
    let error = match error {
        sqlx::Error::PoolTimedOut => match tokio::time::timeout(limit, AnyConnection::connect(url)).await {
            Ok(Err(seen)) => seen,
            _ => error,
        },
        error => error,
    };
    let (why, class) = why(engine, &error);
    StoreError::Opening { place: place(engine, url), why, class }
}

/// Which database.
fn place(engine: Engine, url: &str) -> String {
    if engine == Engine::Sqlite {
        let file = url.trim_start_matches("sqlite:");
        return file.split_once('?').map_or(file, |(file, _)| file).to_owned();
    }
    let Ok(options) = url.parse::<PgConnectOptions>() else { return "of PostgreSQL".to_owned() };
    // where none is named it is the user's own
    let name = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("{name} at {}", socket.display()),
        None => format!("{name} at {}:{}", options.get_host(), options.get_port()),
    }
}

fn why(engine: Engine, error: &sqlx::Error) -> (String, ErrorClass) {
    let (caller, transient) = (ErrorClass::Caller, ErrorClass::Transient);
    match error {
        sqlx::Error::Database(refused) => match (engine, refused.code().as_deref()) {
            (Engine::Postgres, code) => of_postgres(code.unwrap_or("none")),
            (Engine::Sqlite, Some("14")) => (
                "found no file that can be opened or made, expected one in a folder that this user may write".into(),
                caller,
            ),
            (Engine::Sqlite, Some("8" | "1032")) => ("found a file that this user may not write".into(), caller),
            (Engine::Sqlite, Some("26")) => ("found a file that is no SQLite database".into(), caller),
            (Engine::Sqlite, code) => {
                (format!("cannot be opened now (SQLite's code {}): busy or full", code.unwrap_or("none")), transient)
            }
        },
        sqlx::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => (
            "nobody listens there; expected a PostgreSQL server: start it, or correct host and port of the URL".into(),
            transient,
        ),
        sqlx::Error::Io(error) => (format!("cannot be reached: {error}"), transient),
        sqlx::Error::Tls(error) => (format!("TLS: {error}"), caller),
        sqlx::Error::Configuration(_) => {
            ("found a URL that cannot be read, expected postgres://user:password@host:port/name".into(), caller)
        }
        sqlx::Error::PoolTimedOut => ("gives no answer: it is away, busy or full".into(), transient),
        _ => ("cannot be opened now".into(), transient),
    }
}

/// By the class of an SQLSTATE.
fn of_postgres(code: &str) -> (String, ErrorClass) {
    let (why, class) = match code {
        "28P01" | "28000" => {
            ("refuses the login; expected a user with this password that pg_hba.conf lets in", ErrorClass::Caller)
        }
        "3D000" => ("there is no database of this name; expected one: CREATE DATABASE makes it", ErrorClass::Caller),
        "42501" => ("this user lacks a right; expected CONNECT, and CREATE in its schema", ErrorClass::Caller),
        "53300" => ("no connection is free; expected 14 for a gateway (max_connections)", ErrorClass::Transient),
        "57P03" => ("it starts or stops just now", ErrorClass::Transient),
        _ => return (format!("cannot be opened now (SQLSTATE {code})"), ErrorClass::Transient),
    };
    (why.to_owned(), class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_that_cannot_be_opened_is_named_without_its_password() {
        sqlx::any::install_default_drivers();
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let url = format!("postgres://ward:CANARY@{free}/chartseal");
        let fault = fault(Engine::Postgres, &url, sqlx::Error::PoolTimedOut).await;
        let text = fault.to_string();
        assert!(text.starts_with(&format!("database chartseal at {free}: nobody listens there")), "{text}");
        assert_eq!(fault.class(), ErrorClass::Transient);
        for url in
            ["postgres://ward:CANARY@db.example:5433/chartseal?password=CANARY", "postgres://ward:CAN/ARY@db:1/x"]
        {
            let place = place(Engine::Postgres, url);
            assert!(!place.contains("CAN") && !place.contains("ARY"), "{place}");
        }
        assert_eq!(place(Engine::Postgres, "postgres://u:p@h:5433/a"), "a at h:5433");
        assert_eq!(place(Engine::Sqlite, "sqlite:/var/x.db?mode=rwc"), "/var/x.db");
    }

    #[test]
    fn login_name_and_right_are_told_apart() {
        let said = ["28P01", "3D000", "42501", "53300", "57P03", "XX000"].map(of_postgres);
        let classes = said.each_ref().map(|(_, class)| *class == ErrorClass::Caller);
        assert_eq!(classes, [true, true, true, false, false, false]);
        assert!(said[0].0.contains("login") && said[1].0.contains("no database") && said[2].0.contains("right"));
    }

    #[tokio::test]
    async fn a_sqlite_file_in_no_folder_is_the_callers_fault() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("no/such.db").display());
        let Err(error) = crate::store::Store::open(&url).await else { panic!("found a database in no folder") };
        assert!(error.to_string().contains("no/such.db: found no file that can be opened or made"), "{error}");
        assert_eq!(error.class(), ErrorClass::Caller);
    }
}
