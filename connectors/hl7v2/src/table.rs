//! The mapping tables of `schemas/mappings/` (format: its README), read, linked and checked once. The engine knows HL7's
//! grammar and FHIR's JSON; what a segment means stands in the tables alone.

mod doubt;
mod embedded;
mod link;
mod parse;
mod program;
#[cfg(test)]
mod tests;

pub use doubt::doubts;
pub use embedded::EMBEDDED;
pub use link::link;
pub use program::*;
