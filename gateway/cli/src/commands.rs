//! The commands, one file each: arguments, what they do, what they print. They stand on the libraries and hold no rule of
//! their own.

pub mod backup;
pub mod bench;
pub mod completions;
pub mod connector;
pub mod consent;
pub mod demo;
pub mod dlq;
pub mod doctor;
pub mod init;
pub mod ledger;
pub mod node;
pub mod restore;
pub mod run;
pub mod trace;
pub mod verify;
pub mod wallet;
