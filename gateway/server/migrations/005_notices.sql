-- What the gateway still has to tell the hospital's systems ([notify]): written in the commit of what it is about, gone once a broker
-- has confirmed it. Names no patient: opaque ids, codes, places, times.

CREATE TABLE notice (
    id SEQUENCE,
    due BIGINT NOT NULL,                  -- not sent before, ms
    routing TEXT NOT NULL,                -- case.anchored.CONNECTOR, case.refused.CONNECTOR, consent.changed
    document TEXT NOT NULL,               -- JSON
    case_id BLOB                          -- whose receipt's digest goes with it
);
CREATE INDEX notice_due ON notice (due, id);
