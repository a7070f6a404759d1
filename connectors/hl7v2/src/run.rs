//! Runs the tables over one placed message and builds the FHIR tree of one case. Second step of normalise.
//!
//! It knows no segment and no resource type but Patient (whose identifiers name the case's subject) and Bundle (the wrapper).

mod case;
mod clear;
mod condition;
mod convert;
mod explain;
mod identity;
mod memo;
mod reading;
mod recall;
mod rows;
mod source;
mod target;
mod translate;

use std::cell::Cell;
use std::sync::Arc;

use schemas::json::Object;

use crate::hash::{QuickMap, QuickSet};
use crate::structure::Placed;
use crate::table::{Path, Tables};
use crate::time::Zone;
use crate::token::Message;
use crate::{Explained, MapOptions};

pub use case::build_case;
use memo::Key;
pub use memo::Memo;
use reading::Marks;
pub use reading::{Reading, Seen};

/// What is the same for all cases of a message.
#[derive(Clone, Copy)]
pub struct Ground<'r> {
    pub tables: &'r Tables,
    pub message: &'r Message<'r>,
    pub placed: &'r Placed<'r>,
    pub options: &'r MapOptions<'r>,
    pub zone: &'r Zone,
    /// MSH-3, 4, 7, 10: identity of what has none of its own.
    pub source: [&'r str; 4],
}

/// Where a condition stands and what it asks for: segment at hand, frame, field.
type Asked = (usize, usize, [u8; 3], u16, Path);

/// A resource that the message table declares.
struct Instance {
    resource: &'static str,
    object: Object,
    frame: usize,
    live: bool,
    /// What explains its constants, until something of the message makes it live.
    unexplained: Vec<Explained>,
    /// `Type/id`, once somebody asked for it.
    reference: Option<Arc<str>>,
}

/// A resource that a `new` row made.
struct Made {
    resource: &'static str,
    reference: Arc<str>,
    object: Object,
    /// Where it was made first.
    frame: usize,
}

/// One case in the making.
pub struct Run<'r> {
    ground: Ground<'r>,
    reading: &'r mut Reading,
    instances: Vec<Instance>,
    /// The one that is being filled.
    filling: Option<usize>,
    /// Resources made by `new` rows, finished.
    made: Vec<Made>,
    /// What the same text made before in this case.
    again: QuickMap<Key<&'r str>, (Marks, Arc<str>)>,
    /// What maps gave before, in this message or another.
    memo: &'r mut Memo,
    /// The way in which the message is written, by the memo's count.
    manner: usize,
    /// How often something was done that is more than a piece mapped: a resource made, rows that were not run for a bound.
    beyond: usize,
    /// The field that a condition asked for last, and its text.
    asked: Cell<Option<(Asked, Option<&'r str>)>>,
    /// How often a time was read that may need the message's zone.
    zoned: usize,
    /// `Type/id` of everything that has one.
    taken: QuickSet<Arc<str>>,
    /// Per reference that was asked for more than once: how often.
    ordinals: QuickMap<Arc<str>, usize>,
    /// What nulls take away.
    cleared: Vec<clear::Clearing>,
    explained: &'r mut Vec<Explained>,
    /// Elements on the way to where we are; only kept when explaining.
    trail: Vec<String>,
    /// Room for a name in the making.
    scratch: String,
    depth: usize,
    /// Rows that may still run.
    left: usize,
    /// Constants make an element live: rows of `require`.
    defaults: bool,
}
