-- The way out: used assertions and tokens. SQLite spelling; store/migrations.rs spells BLOB for PostgreSQL.

CREATE TABLE smart_assertion (
    id BLOB NOT NULL PRIMARY KEY,         -- hash of issuer and jti
    until BIGINT NOT NULL
);
CREATE INDEX smart_assertion_until ON smart_assertion (until);
CREATE TABLE smart_token (
    hash BLOB NOT NULL PRIMARY KEY,       -- of the bearer token; the token itself is nowhere
    client TEXT NOT NULL,
    scopes TEXT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX smart_token_expires ON smart_token (expires);
ALTER TABLE consent_document ADD COLUMN anchored BIGINT NOT NULL DEFAULT 0; -- effective time of the block
CREATE INDEX consent_document_pending ON consent_document (logical_id) WHERE height IS NULL;
ALTER TABLE consent_document ADD COLUMN granted BLOB; -- the version on the ledger that a row is about
