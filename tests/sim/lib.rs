//! The package of the suites that need more than one crate, or none: each stands in a folder of its own beside this one
//! (`tidy/`, …) and is named in the manifest. Nothing of the product lives here. Here is what the simulator (`sim/`), the
//! enumeration of twins (`twins/`), the model check (`model/`) and the fuzzer (`fuzz/`) share: keys, clients, the doors of a
//! validator, the one chain, the checkers; and the simulator's world, which runs a seed or the bytes of a fuzzer.

pub mod attackers;
pub mod caught;
pub mod chain;
pub mod check;
pub mod client;
pub mod count;
pub mod dice;
pub mod disk;
pub mod frame;
#[path = "../../ledger/node/src/votelog/group.rs"]
mod group;
pub mod keys;
pub mod network;
pub mod oracle;
pub mod plan;
#[cfg(feature = "mutants")]
pub mod planted;
pub mod run;
pub mod seat;
pub mod spread;
pub mod verify;
pub mod world;
