//! Handing requests on (§4.1): a backup passes what nobody proposes to the primary, and when that does not help to everyone,
//! so that every validator's timer runs and a faulty primary cannot hide what it was told.

use schemas::pbft::Message;

use crate::Effect;
use crate::pool::Forward;
use crate::replica::Replica;

impl Replica {
    pub(super) fn forward(&mut self, effects: &mut Vec<Effect>) {
        assert!(!self.active || !self.is_primary(), "the primary has nobody to forward to");
        let primary = self.primary();
        let due = self.pool.take_forwards(self.now);
        effects.extend(due.into_iter().map(|forward| match forward {
            // one who waits for a view that others may not want yet has no primary
            Forward::ToPrimary(request) if self.active => {
                Effect::Send(primary, Message::Request(request.bytes().clone()))
            }
            Forward::ToPrimary(request) | Forward::ToAll(request) => {
                Effect::Broadcast(Message::Request(request.bytes().clone()))
            }
        }));
    }
}
