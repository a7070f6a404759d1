//! AMQP 0-9-1 on RabbitMQ: one durable quorum queue per connector or lane, manual acknowledgement, a supervisor of its own. The only
//! crate that names lapin. It passes bytes on and settles them when told; it must never look into a body, know keys or the ledger,
//! deduplicate, or put a body, a routing key or a credential into a log.
mod access;
mod config;
mod connection;
pub mod inspect;
mod lane;
mod management;
mod publisher;
mod settle;
mod source;
mod topology;

pub use access::Auth;
pub use config::{AmqpConfig, PublisherConfig};
pub use connection::ConnectError;
pub use publisher::{EXCHANGE, Outgoing, PublishError, Publisher};
pub use source::AmqpSource;
pub use topology::{LANE_HEADER, bucket};
