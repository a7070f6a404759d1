//! The gateway: the way in (`ingest`), the way out (`disclose`), what both stand on (store, objects, follow) and what
//! the world sees (HTTP, operators). Shells around pure crates; it must never name a protocol of the ledger's inside.

mod acknowledge;
pub mod bridge;
pub mod config;
pub mod connectors;
pub mod consents;
pub mod dead_letters;
pub mod disclose;
pub mod doctor;
pub mod follow;
pub mod gateway;
pub mod http;
pub mod imports;
pub mod ingest;
pub mod markers;
pub mod notify;
pub mod objects;
pub mod operators;
pub mod replays;
pub mod smart;
pub mod store;
pub mod telemetry;
