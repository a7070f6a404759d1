//! A frame between validators. It is verified once, whoever receives it: what its signatures say does not depend on the
//! receiver.

use std::cell::OnceCell;

use schemas::block::ValidatorIndex;
use schemas::pbft::Message;

use crate::verify::Checked;

/// A message under way.
pub struct Frame {
    /// Who the transport says it is from.
    pub from: ValidatorIndex,
    /// What it says.
    pub message: Message,
    /// What verification made of it, once somebody asked.
    pub checked: OnceCell<Option<Checked>>,
}

impl Frame {
    /// A frame as it leaves.
    pub fn new(from: ValidatorIndex, message: Message) -> Self {
        Self { from, message, checked: OnceCell::new() }
    }
}
