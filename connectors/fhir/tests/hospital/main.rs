//! The connector against a FHIR server over real sockets, with paging, history, exports, SMART and connections that are cut.

mod bulk;
mod certificates;
mod conformance;
mod hooks;
mod login;
mod markers;
mod polling;
mod server;
mod silence;
