//! The way out, request by request, on a real store, vault and contract: who sees what under which consent, what a stranger can
//! tell (nothing), what is on disk before an answer. The ledger is a double: real contract, real signatures, one process.

#[path = "way_out/canary.rs"]
mod canary;
#[path = "way_out/chain.rs"]
mod chain;
#[path = "way_out/consents.rs"]
mod consents;
#[path = "way_out/hidden.rs"]
mod hidden;
#[path = "way_out/log.rs"]
mod log;
#[path = "way_out/merged.rs"]
mod merged;
#[path = "way_out/operators.rs"]
mod operators;
#[path = "services/postgres.rs"]
mod postgres;
#[path = "way_out/proof.rs"]
mod proof;
#[path = "way_out/requests.rs"]
mod requests;
#[path = "way_out/tokens.rs"]
mod tokens;
#[path = "way_out/wallet.rs"]
mod wallet;
#[path = "way_out/world.rs"]
mod world;
