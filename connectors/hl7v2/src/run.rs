//! Runs the tables over one placed message and builds the FHIR tree of one case. Second step of normalise.
//!
//! It knows no segment and no resource type but Patient (whose identifiers name the case's subject) and Bundle (the wrapper).

mod case;
mod clear;
mod condition;
mod convert;
mod explain;
mod identity;
mod reading;
mod rows;
mod source;
mod target;
mod translate;

use std::sync::Arc;

use schemas::json::Object;

use crate::hash::{QuickMap, QuickSet};
use crate::structure::Placed;
use crate::table::Tables;
use crate::time::Zone;
use crate::token::{Level, Message, Span};
use crate::{Explained, MapOptions};

pub use case::build_case;
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

/// A program, the vocabulary named outside, and the text it runs on.
type Text<'r> = (usize, Option<usize>, Level, &'r str);

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
    /// What the same text made before: program, vocabulary, piece → reference.
    again: QuickMap<Text<'r>, (Span, Arc<str>)>,
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
