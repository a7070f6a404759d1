//! The tables that come with Chartseal, listed by `build.rs`.

/// File name below `schemas/mappings/`, text.
pub const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/tables.rs"));
