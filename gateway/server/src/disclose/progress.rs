//! How far this gateway has followed the ledger, as the way out needs to know it. The follower implements it; a decision is
//! taken only at a height that is proved to be fresh.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use schemas::id::{Height, TimeMs};

use crate::follow::Follower;

/// An answer that takes time.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The follower's progress.
pub trait Progress: Send + Sync {
    /// Height up to which blocks are executed here.
    fn height(&self) -> Height;

    /// Effective time of that block, ms.
    fn time(&self) -> TimeMs;

    /// The height here, once it has reached the freshest that q validators attest (formats.md §4), within `wait`. `None`
    /// when freshness is not proved: nothing may be decided then.
    fn fresh(&self, wait: Duration) -> Later<'_, Option<Height>>;

    /// Whether `height` is executed here within `wait`.
    fn reach(&self, height: Height, wait: Duration) -> Later<'_, bool>;
}

impl Progress for Follower {
    fn height(&self) -> Height {
        Self::height(self)
    }

    fn time(&self) -> TimeMs {
        Self::time(self)
    }

    fn fresh(&self, wait: Duration) -> Later<'_, Option<Height>> {
        Box::pin(Self::fresh(self, wait))
    }

    fn reach(&self, height: Height, wait: Duration) -> Later<'_, bool> {
        Box::pin(Self::reach(self, height, wait))
    }
}
