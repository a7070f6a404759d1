//! SMART App Launch 2, backend services: discovery, `private_key_jwt`, scopes, short tokens, introspection. Stands in front of
//! both ways. A token only ever narrows what consents allow; no decision of a consent is ever baked into one.

pub mod assertion;
pub mod client;
pub mod scope;
pub mod token;

pub use client::{Client, ClientError, Clients};
pub use scope::{Interaction, Scopes};
pub use token::{Grant, Tokens};
