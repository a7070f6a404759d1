-- Patients' own keys: written by the follower with the ledger's state, looked up when a wallet asks.

CREATE INDEX subject_bound ON subject (public_key) WHERE public_key IS NOT NULL;
