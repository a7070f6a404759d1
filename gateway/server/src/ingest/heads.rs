//! Which version of a resource is its head (formats.md §1): content equal to the head's adds no version; the highest order
//! is the head, in whatever order versions arrive. *index* decides it, alone, and so may remember heads between its commits;
//! after a failure it must forget them all.

use std::collections::HashMap;

use crate::store::units::{self, Chain, Head, UnitRow};
use crate::store::{StoreError, Write};

/// Most chains that are remembered.
const CHAINS_MAX: usize = 50_000;

/// Heads that are known.
#[derive(Default)]
pub struct Heads(HashMap<Chain, Head>);

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

    /// Decides about new units, in their order. Gives the rows to add and the chains whose head in the database is no more.
    pub fn place(&mut self, new: Vec<UnitRow>) -> (Vec<UnitRow>, Vec<Chain>) {
        let mut added: Vec<UnitRow> = Vec::with_capacity(new.len());
        // where the heads are that are among the added
        let mut at: HashMap<Chain, usize> = HashMap::new();
        let mut beheaded = Vec::new();
        for mut row in new {
            let chain = row.chain();
            let head = self.0.get(&chain);
            if head.is_some_and(|(_, content)| *content == row.content) {
                continue;
            }
            row.is_head = head.is_none_or(|(order, _)| row.order() > *order);
            if row.is_head {
                let before = self.0.insert(chain.clone(), (row.order(), row.content));
                match (at.insert(chain.clone(), added.len()), before) {
                    (Some(earlier), _) => added[earlier].is_head = false,
                    (None, Some(_)) => beheaded.push(chain),
                    (None, None) => {}
                }
            }
            added.push(row);
        }
        (added, beheaded)
    }
}

#[cfg(test)]
mod tests;
