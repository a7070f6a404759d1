-- Application acknowledgements that are owed to senders (HL7 v2, MSH-16): one row for each message that asked for one and whose connector
-- sends them, from the inbox commit until the sender's system has taken it. The header is sealed: a sender may write anything into it.

CREATE TABLE application_ack (
    id SEQUENCE,
    inbox_id BIGINT,                      -- NULL: refused before it had a row
    connector TEXT NOT NULL,
    wanted BIGINT NOT NULL,               -- 0 always, 1 on error, 2 on success
    source_key BLOB NOT NULL,             -- what the header is sealed for
    head BLOB NOT NULL,                   -- the MSH, sealed
    decided BIGINT,                       -- when the outcome was known, ms; NULL while it is not
    due BIGINT,                           -- not sent before, ms; NULL while the outcome is not known
    code TEXT,                            -- why it was refused; NULL: it was not
    path TEXT                             -- where
);
CREATE INDEX application_ack_of ON application_ack (inbox_id);
CREATE INDEX application_ack_due ON application_ack (connector, due, id) WHERE due IS NOT NULL;
