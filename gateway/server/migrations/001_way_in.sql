-- The way in: inbox, quarantine, subjects, intents, cases, units. SQLite spelling; store/migrations.rs spells BLOB and
-- SEQUENCE for PostgreSQL. All times are milliseconds since 1970. Nothing here is plaintext of a record.

CREATE TABLE inbox (
    id SEQUENCE,
    source_key BLOB NOT NULL UNIQUE,      -- HMAC of the source's own key of the message: the only deduplicator
    content_hash BLOB NOT NULL,           -- HMAC of the bytes: same key with other content is a conflict
    connector TEXT NOT NULL,
    content_type TEXT NOT NULL,
    received BIGINT NOT NULL,
    raw_key BLOB,                         -- wrapped by the root key; NULL once destroyed, and overwritten
    raw_object TEXT,                      -- key of the sealed raw in the object store
    trace TEXT,                           -- W3C traceparent
    state BIGINT NOT NULL                 -- store/inbox.rs: State
);
CREATE INDEX inbox_waiting ON inbox (id) WHERE state = 0;

-- Apart from its row, so that pages of raw bytes are given back whole and rows are small where they are marked.
CREATE TABLE inbox_raw (
    inbox_id ROW_NUMBER,
    bytes BLOB NOT NULL                   -- sealed under inbox.raw_key; no row when in an object or destroyed
);

CREATE TABLE quarantine (
    id SEQUENCE,
    inbox_id BIGINT,
    connector TEXT NOT NULL,
    content_type TEXT NOT NULL,
    received BIGINT NOT NULL,
    code TEXT NOT NULL,
    path TEXT NOT NULL,
    class TEXT NOT NULL,
    raw BLOB,
    raw_key BLOB,
    raw_object TEXT,
    source_key BLOB NOT NULL,
    content_hash BLOB NOT NULL
);
CREATE INDEX quarantine_same ON quarantine (source_key, content_hash);

CREATE TABLE subject (
    id BLOB NOT NULL PRIMARY KEY,
    wrapped_key BLOB NOT NULL,
    public_key BLOB,
    registered BIGINT                     -- height of RegisterSubject
);
CREATE TABLE subject_alias (
    alias BLOB NOT NULL PRIMARY KEY,      -- HMAC(system, value)
    subject BLOB NOT NULL
);
CREATE INDEX subject_alias_of ON subject_alias (subject);

CREATE TABLE submission (
    tx_id BLOB NOT NULL PRIMARY KEY,
    sequence BIGINT NOT NULL,             -- order of sealing, kept across restarts
    bytes BLOB NOT NULL,                  -- the exact signed bytes
    valid_until BIGINT NOT NULL
);
CREATE TABLE intent (
    case_id BLOB NOT NULL PRIMARY KEY,
    tx_id BLOB NOT NULL,
    statement_index BIGINT NOT NULL,
    inbox_id BIGINT NOT NULL,
    subject BLOB NOT NULL,
    plan BLOB NOT NULL                    -- CBOR of what index writes: case row and unit rows
);
CREATE INDEX intent_of_submission ON intent (tx_id);
CREATE INDEX intent_of_inbox ON intent (inbox_id);

CREATE TABLE cases (
    case_id BLOB NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    subject BLOB NOT NULL,
    inbox_id BIGINT NOT NULL,
    connector TEXT NOT NULL,
    received BIGINT NOT NULL,
    sealed BIGINT NOT NULL,
    height BIGINT NOT NULL,
    anchored_at BIGINT NOT NULL,          -- effective time of the block
    tx_id BLOB NOT NULL,                  -- what anchored it
    statement_index BIGINT NOT NULL,      -- its place in that
    wraps BLOB NOT NULL,                  -- CBOR of Vec<Wrap>; purgeable
    object BLOB NOT NULL,                 -- SHA-256
    extent BLOB NOT NULL,                 -- CBOR of Extent: where the object store has it
    summaries BLOB NOT NULL               -- sealed under the subject's key: what matching and deciding need of its units
);
CREATE INDEX cases_of_subject ON cases (subject);
CREATE INDEX cases_arrived ON cases (inbox_id);

-- What receipts are built from, once for all cases of a transaction.
CREATE TABLE anchor (
    tx_id BLOB NOT NULL PRIMARY KEY,
    bytes BLOB NOT NULL,                  -- the exact signed bytes
    proof BLOB NOT NULL                   -- CBOR of EntryProof
);

CREATE TABLE unit (
    id SEQUENCE,                          -- arrival at the index: orders the versions of a chain
    case_id BLOB NOT NULL,
    unit BIGINT NOT NULL,
    subject BLOB NOT NULL,
    resource_type TEXT NOT NULL,
    logical_id TEXT NOT NULL,
    is_head BIGINT NOT NULL,
    status_rank BIGINT NOT NULL,
    event_time BIGINT NOT NULL,
    arrived BIGINT NOT NULL,
    content BLOB NOT NULL                 -- HMAC of the content without its meta
);
-- Logical ids are hashes: an index over all of them would change a page for every row. On SQLite the newest part alone changes.
CREATE INDEX unit_named ON unit (PART_OF_SEQUENCE logical_id);
CREATE INDEX unit_heads ON unit (subject, resource_type, logical_id) WHERE is_head = 1;

CREATE TABLE chain_state (
    key BLOB NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
);
CREATE TABLE chain_cursor (
    id BIGINT NOT NULL PRIMARY KEY,       -- always 1
    height BIGINT NOT NULL,
    header BLOB NOT NULL,                 -- CBOR of the last executed header
    time BIGINT NOT NULL,
    log BLOB NOT NULL                     -- frontier of the log tree
);

CREATE TABLE consent_document (
    consent BLOB NOT NULL PRIMARY KEY,
    subject BLOB NOT NULL,
    logical_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    height BIGINT,
    document BLOB NOT NULL,               -- sealed under the subject's key
    salt BLOB NOT NULL,
    state BIGINT NOT NULL
);
CREATE INDEX consent_document_of ON consent_document (subject);
CREATE INDEX consent_document_named ON consent_document (logical_id);

CREATE TABLE access_log (
    sequence BIGINT NOT NULL PRIMARY KEY,
    time BIGINT NOT NULL,
    entry BLOB NOT NULL,                  -- sealed
    leaf BLOB NOT NULL,                   -- salted
    height BIGINT NOT NULL
);
CREATE TABLE access_batch (
    first BIGINT NOT NULL PRIMARY KEY,
    count BIGINT NOT NULL,
    root BLOB NOT NULL,
    tx_id BLOB NOT NULL,
    bytes BLOB NOT NULL,
    valid_until BIGINT NOT NULL,
    height BIGINT,
    state BIGINT NOT NULL
);
