-- How often a message was tried, what operators did, which connectors they stopped.

ALTER TABLE inbox ADD COLUMN attempts BIGINT NOT NULL DEFAULT 0;
ALTER TABLE quarantine ADD COLUMN attempts BIGINT NOT NULL DEFAULT 0;
CREATE TABLE operator_deed (
    id SEQUENCE,
    at BIGINT NOT NULL,
    operator TEXT NOT NULL,               -- who said so: the name that came with the request
    deed TEXT NOT NULL,                   -- show, retry, discard, pause, resume, drain, reload
    about TEXT NOT NULL                   -- a connector, ids and counts: never content
);
CREATE TABLE connector_paused (
    name TEXT NOT NULL PRIMARY KEY,
    since BIGINT NOT NULL
);
