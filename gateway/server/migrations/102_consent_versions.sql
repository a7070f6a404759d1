-- A consent has each version once.

CREATE UNIQUE INDEX consent_document_version ON consent_document (logical_id, version);
