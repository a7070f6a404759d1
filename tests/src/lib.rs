//! The package of the suites that need more than one crate, or none: each stands in a folder of its own beside this one
//! (`tidy/`, …) and is named in the manifest. Nothing of the product lives here. Here is what the simulator (`sim/`), the
//! enumeration of twins (`twins/`) and the model check (`model/`) share: keys, clients, the doors of a validator, the one
//! chain, and the checkers.

#[path = "../sim/caught.rs"]
pub mod caught;
#[path = "../sim/chain.rs"]
pub mod chain;
#[path = "../sim/check.rs"]
pub mod check;
#[path = "../sim/client.rs"]
pub mod client;
#[path = "../sim/frame.rs"]
pub mod frame;
#[path = "../sim/keys.rs"]
pub mod keys;
#[path = "../sim/oracle.rs"]
pub mod oracle;
#[cfg(feature = "mutants")]
#[path = "../sim/planted.rs"]
pub mod planted;
#[path = "../sim/spread.rs"]
pub mod spread;
#[path = "../sim/verify.rs"]
pub mod verify;
