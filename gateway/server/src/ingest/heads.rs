//! Which version of a resource is its head (formats.md §1): content equal to the head's adds no version, but what was said before that
//! and arrives later is no head; the highest order is the head, in whatever order versions arrive. What a message said gives way to what it says when it is mapped again.
//! *index* decides it, alone, and so may remember heads between its commits; after a failure it must forget them all.

use std::collections::HashMap;

use crate::store::units::{self, Chain, Head, UnitRow};
use crate::store::{StoreError, Write};

/// Most chains that are remembered.
const CHAINS_MAX: usize = 50_000;
/// Said in nearly every message, and named by their content: they have one version, and nothing is to be remembered of when.
const TIMELESS: [&str; 4] = ["Location", "Organization", "Practitioner", "PractitionerRole"];

/// Heads that are known.
#[derive(Default)]
pub struct Heads(HashMap<Chain, Head>);

/// What is decided about new units.
pub struct Placed {
    /// The rows to add.
    pub added: Vec<UnitRow>,
    /// Those among them, by index, that are below a head.
    pub late: Vec<usize>,
    /// Chains whose head in the database is no more.
    pub beheaded: Vec<Chain>,
    /// Chains whose head in the database was said again later, and when.
    pub raised: HashMap<Chain, i64>,
    /// Chains whose head was mapped again and has a lower order now: another version may be above it.
    pub lowered: Vec<Chain>,
}

impl Heads {
    /// Reads the heads of the chains that new units belong to and that are not remembered.
    ///
    /// # Errors
    /// `StoreError`.
    pub async fn learn(&mut self, write: &mut Write, new: &[UnitRow]) -> Result<(), StoreError> {
        if self.0.len() > CHAINS_MAX {
            self.0.clear();
        }
        let mut names: Vec<Chain> = new.iter().map(UnitRow::chain).collect();
        names.sort_unstable();
        names.dedup();
        let unknown: Vec<&Chain> = names.iter().filter(|name| !self.0.contains_key(*name)).collect();
        self.0.extend(units::chains(write, &unknown).await?);
        Ok(())
    }

    /// Decides about new units, in their order.
    pub fn place(&mut self, new: Vec<UnitRow>) -> Placed {
        let mut added: Vec<UnitRow> = Vec::with_capacity(new.len());
        // where the heads are that are among the added
        let mut at: HashMap<Chain, usize> = HashMap::new();
        let (mut beheaded, mut late, mut lowered, mut raised) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
        for mut row in new {
            let chain = row.chain();
            if let Some((order, content)) = self.0.get_mut(&chain)
                && *content == row.content
            {
                if row.event_time > order.1
                    && row.status_rank == order.0
                    && !TIMELESS.contains(&row.resource_type.as_str())
                {
                    order.1 = row.event_time;
                    match at.get(&chain) {
                        Some(at) => added[*at].event_time = row.event_time,
                        None => drop(raised.insert(chain, row.event_time)),
                    }
                }
                continue;
            }
            let head = self.0.get(&chain);
            let is_higher = head.is_none_or(|(order, _)| row.order() > *order);
            let is_its_own = head.is_some_and(|(order, _)| order.2 == row.arrived)
                && at.get(&chain).is_none_or(|at| added[*at].case != row.case);
            row.is_head = is_higher || is_its_own;
            if row.is_head {
                if head.is_some_and(|(order, _)| row.order() < *order) {
                    lowered.push(chain.clone());
                }
                let before = self.0.insert(chain.clone(), (row.order(), row.content));
                match (at.insert(chain.clone(), added.len()), before) {
                    (Some(earlier), _) => added[earlier].is_head = false,
                    (None, Some(_)) => beheaded.push(chain),
                    (None, None) => {}
                }
            } else {
                late.push(added.len());
            }
            added.push(row);
        }
        Placed { added, late, beheaded, raised, lowered }
    }

    /// Forgets what is decided elsewhere.
    pub fn forget(&mut self, chain: &Chain) {
        self.0.remove(chain);
    }
}

#[cfg(test)]
mod tests;
