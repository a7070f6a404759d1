//! The way of a record through real processes: four validators, RabbitMQ, a gateway that is killed. Needs the services that
//! `tests/run` starts; fails, not skips, where they were promised (`CHARTSEAL_SERVICES`) and are missing.

mod chain;
mod crash;
mod feed;
mod outage;
mod primary;
mod servers;
mod spans;
mod world;
