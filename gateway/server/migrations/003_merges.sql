-- Whose records a hospital says are one person's: reversible aliases, never rewritten. The last row about a pair counts.

CREATE TABLE subject_merge (
    id SEQUENCE,
    prior BLOB NOT NULL,
    surviving BLOB NOT NULL,
    inbox_id BIGINT NOT NULL,             -- the message that said so
    undone BIGINT NOT NULL,
    UNIQUE (inbox_id, prior, surviving)
);
CREATE INDEX subject_merge_prior ON subject_merge (prior);
CREATE INDEX subject_merge_surviving ON subject_merge (surviving);
