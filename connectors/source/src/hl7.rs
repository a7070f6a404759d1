//! What a source's HL7 v2 messages leave unsaid: `[hl7v2]` of a connector's file, the same for every kind that brings such messages. Read
//! by *normalise*; it must never overrule what a message says itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// `[hl7v2]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hl7Defaults {
    /// Zone of times where neither they nor MSH-7 name one: `+01:00`, or an IANA name such as `Europe/Berlin`; without it the gateway's.
    pub zone: Option<String>,
    /// Character set where MSH-18 is empty: a name of HL7 table 0211 (`8859/1`) or of the web (`windows-1252`); without it UTF-8.
    pub charset: Option<String>,
    /// Assigning authority as this source writes it → FHIR system; it goes before the gateway's own.
    #[serde(default)]
    pub authorities: BTreeMap<String, String>,
}
