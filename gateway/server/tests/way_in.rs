//! The way in on real parts: vault, SQLite (and PostgreSQL where `tests/run` gives one), local objects, the contract and
//! four validators' real signatures. Only consensus is a double (`way_in/ledger.rs`).

#[path = "way_in/acknowledged.rs"]
mod acknowledged;
#[path = "way_in/again.rs"]
mod again;
#[path = "way_in/apart.rs"]
mod apart;
#[path = "way_in/bound.rs"]
mod bound;
#[path = "way_in/claimed.rs"]
mod claimed;
#[path = "way_in/epochs.rs"]
mod epochs;
#[path = "way_in/hospital.rs"]
mod hospital;
#[path = "way_in/journey.rs"]
mod journey;
#[path = "way_in/ledger.rs"]
mod ledger;
#[path = "way_in/lost.rs"]
mod lost;
#[path = "way_in/notices.rs"]
mod notices;
#[path = "way_in/partial.rs"]
mod partial;
#[path = "services/postgres.rs"]
mod postgres;
#[path = "way_in/proxy.rs"]
mod proxy;
#[path = "way_in/recovery.rs"]
mod recovery;
#[path = "way_in/replay.rs"]
mod replay;
#[path = "way_in/world.rs"]
mod world;
