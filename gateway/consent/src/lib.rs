//! Decides what a patient's consents allow (formats.md §6): policies, one request and one unit's facts in, a decision out.
//! Stands between the way out's query and its opening of cases. Pure: no clock, no IO, no keys. Whatever is missing,
//! unreadable or not understood can only narrow a decision, never widen it; no value of a record reaches an error or a
//! `Debug`.
//!
//! The order: [`Policy::parse`] once per document, [`Session::new`] once per request, [`Session::decide`] once per unit.

mod coding;
mod decision;
mod facts;
mod policy;
mod reference;
mod request;
mod session;
mod time;
mod truth;

pub use coding::Coding;
pub use decision::{Decision, Denial, Permit, Reason, UnitId};
pub use facts::UnitFacts;
pub use policy::{Effect, Policy, PolicyError, Problem};
pub use reference::Reference;
pub use request::{AccessRequest, Action, Actor, DefaultRule, Document, LiveConsent};
pub use session::Session;
pub use time::Span;
pub use truth::Truth;

#[cfg(test)]
mod tests;
