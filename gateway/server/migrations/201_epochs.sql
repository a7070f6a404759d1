-- What receipts of later epochs carry, once for all of them. Public on the ledger.

CREATE TABLE epoch_proof (
    epoch BIGINT NOT NULL PRIMARY KEY,    -- from 1 on, without a gap
    proof BLOB NOT NULL                   -- CBOR of EpochProof
);
