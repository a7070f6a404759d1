//! Never takes in some of the transactions, whoever forwards them: as primary it would starve them.

use ledger_core::Input;

use super::Attacker;

/// A censor.
pub struct Censoring;

impl Attacker for Censoring {
    fn admits(&mut self, input: &Input) -> bool {
        !matches!(input, Input::Request(_, request) if request.id().0[0].is_multiple_of(3))
    }
}
