//! Two correct replicas with one key, each talking to a part of the others (Twins, arXiv 2004.10617). All that is wrong is
//! that there are two; the world divides who hears which.

use super::Attacker;

/// One of two.
pub struct Twins;

impl Attacker for Twins {}
