//! A list in which everything stands once, with a bound: searched while it is short, with a set beside it once it is long. A
//! hostile resource with many codings or references must cost time in proportion, never their square.

use std::collections::HashSet;
use std::hash::Hash;

/// Lists up to this length are searched.
const SHORT: usize = 24;

/// Items in the order in which they came.
pub(super) struct Once<T> {
    items: Vec<T>,
    /// All items, once there are more than a few.
    known: HashSet<T>,
    most: usize,
}

impl<T: Clone + Eq + Hash> Once<T> {
    /// An empty list with room for so many.
    pub(super) fn new(most: usize) -> Self {
        Self { items: Vec::new(), known: HashSet::new(), most }
    }

    /// Whether it is there.
    pub(super) fn has(&self, item: &T) -> bool {
        if self.known.is_empty() { self.items.contains(item) } else { self.known.contains(item) }
    }

    /// Adds what is not there yet. False when there is no room for it: then the list says less than there is.
    pub(super) fn add(&mut self, item: T) -> bool {
        self.has(&item) || self.put(item)
    }

    /// Adds what is known not to be there.
    fn put(&mut self, item: T) -> bool {
        if self.items.len() >= self.most {
            return false;
        }
        if self.items.len() == SHORT {
            self.known.extend(self.items.iter().cloned());
        }
        if self.items.len() >= SHORT {
            self.known.insert(item.clone());
        }
        self.items.push(item);
        true
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The items.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// The items themselves.
    pub(super) fn into_items(self) -> Vec<T> {
        self.items
    }
}
