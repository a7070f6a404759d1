-- How far polled sources are. May be lost: what it says comes again and the inbox knows it.

CREATE TABLE source_marker (
    connector TEXT NOT NULL,
    kind TEXT NOT NULL,                   -- a FHIR type
    at BIGINT,                            -- everything that was updated before was accepted; none before the first look ended
    seen BLOB NOT NULL,                   -- accepted versions since: time and blind token of each
    PRIMARY KEY (connector, kind)
);
