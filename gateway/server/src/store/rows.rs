//! Many rows in one statement. Row counts are rounded to a few sizes, so that a connection prepares each statement a
//! handful of times and not once per batch. Names of tables and columns are constants of this crate, never input.

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe};

use super::{Engine, StoreError, Write, failed};

/// A query on either engine.
pub type AnyQuery<'q> = Query<'q, Any, AnyArguments>;

/// Rows per statement, largest first.
const SIZES: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

/// Splits `rows` into pieces of the sizes that statements are prepared for.
pub fn pieces<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let size = *SIZES.iter().find(|size| **size <= rest.len())?;
        let (piece, tail) = rest.split_at(size);
        rest = tail;
        Some(piece)
    })
}

/// `($1, $2), ($3, $4)`, for statements without other parameters. SQLite's are nameless: a named one is looked for among
/// all names when it is bound, which for long statements costs more than the write.
pub fn tuples(engine: Engine, rows: usize, columns: usize) -> String {
    let mut out = String::with_capacity(rows * columns * 6);
    for row in 0..rows {
        out.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            if column > 0 {
                out.push_str(", ");
            }
            match engine {
                Engine::Sqlite => out.push('?'),
                Engine::Postgres => {
                    out.push('$');
                    out.push_str(&(row * columns + column + 1).to_string());
                }
            }
        }
        out.push(')');
    }
    out
}

/// `$1, $2, $3`, starting after `from` parameters.
pub fn list(from: usize, count: usize) -> String {
    (from + 1..=from + count).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
}

/// Inserts `rows` with `INSERT INTO {into} VALUES (…), (…) {tail}`; `bind` binds the columns of one row in order.
///
/// # Errors
/// `StoreError` of the first statement that failed; the write must then be dropped.
pub async fn insert<T>(
    write: &mut Write,
    (into, columns, tail): (&'static str, usize, &'static str),
    rows: &[T],
    bind: impl Fn(AnyQuery<'static>, &T) -> AnyQuery<'static>,
) -> Result<(), StoreError> {
    for piece in pieces(rows) {
        let sql = format!("INSERT INTO {into} VALUES {} {tail}", tuples(write.engine(), piece.len(), columns));
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), &bind);
        query.execute(&mut **write).await.map_err(failed(into))?;
    }
    Ok(())
}
