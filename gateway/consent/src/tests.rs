//! Tests of the consent engine: shapes of real policies by table, properties of all policies, dates, documents, facts.

mod documents;
mod fixture;
mod parts;
mod properties;
mod shapes;
mod stored;
