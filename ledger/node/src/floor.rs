//! The floor under a validator: RocksDB alone, every write synced, nothing signed, sent or hashed. Benches measure it beside the
//! ledger; a validator never opens it.

use std::path::Path;

use rocksdb::{DB, Options, WriteBatch, WriteOptions};

use crate::StoreError;

/// A store with one family whose every write is durable when it returns.
pub struct SyncedWriter {
    db: DB,
    options: WriteOptions,
}

impl SyncedWriter {
    /// Makes one in a folder that holds nothing else.
    ///
    /// # Errors
    /// `StoreError` when RocksDB fails.
    pub fn create(folder: &Path) -> Result<Self, StoreError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_error_if_exists(true);
        let db = DB::open(&options, folder)?;
        let mut options = WriteOptions::default();
        options.set_sync(true);
        Ok(Self { db, options })
    }

    /// Writes rows as one, and syncs.
    ///
    /// # Errors
    /// `StoreError` when RocksDB fails.
    pub fn write<'r>(&self, rows: impl IntoIterator<Item = (&'r [u8], &'r [u8])>) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        rows.into_iter().for_each(|(key, value)| batch.put(key, value));
        Ok(self.db.write_opt(batch, &self.options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::SyncedWriter;

    #[test]
    fn rows_are_there_after_the_process_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("floor");
        let writer = SyncedWriter::create(&path).unwrap();
        writer.write([(&b"a"[..], &b"1"[..]), (b"b", b"2")]).unwrap();
        assert!(SyncedWriter::create(&path).is_err(), "another one in the same folder");
        drop(writer);
        let db = rocksdb::DB::open_for_read_only(&rocksdb::Options::default(), &path, false).unwrap();
        assert_eq!(db.get(b"b").unwrap().as_deref(), Some(&b"2"[..]));
    }
}
