//! The `next` link of a search: query, client and position, sealed, so that neither identifiers nor positions can be read
//! from a URL or changed. It carries no decision: each page is decided anew. Order: newest event first, then logical id,
//! both of which the client has seen.

use std::cmp::Reverse;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_vault::Vault;
use minicbor::{Decode, Encode};
use schemas::cbor;

use super::query::Row;
use super::search::{Search, SearchError};

const CONTEXT: &[u8] = b"cs1/search-page";
/// Longest link accepted, in characters.
const LINK_MAX: usize = 32 << 10;

/// Position of a row in every answer.
pub type Order<'a> = (Reverse<i64>, &'a str);

/// The position of a row.
pub fn order(row: &Row) -> Order<'_> {
    (Reverse(row.event_time), &row.logical_id)
}

/// Where a search goes on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Page {
    #[n(0)]
    resource_type: String,
    #[n(1)]
    parameters: Vec<(String, String)>,
    #[n(2)]
    client: String,
    #[n(3)]
    event_time: i64,
    #[n(4)]
    logical_id: String,
}

impl Page {
    /// After a row of this search.
    pub fn after_row(search: &Search, client: &str, row: &Row) -> Self {
        Self {
            resource_type: search.resource_type.clone(),
            parameters: search.parameters.clone(),
            client: client.to_owned(),
            event_time: row.event_time,
            logical_id: row.logical_id.clone(),
        }
    }

    /// The position after which this page begins.
    pub fn after(&self) -> Order<'_> {
        (Reverse(self.event_time), &self.logical_id)
    }

    /// The link's text; `None` when the system has no randomness.
    pub fn seal(&self, vault: &Vault) -> Option<String> {
        vault.seal_row(CONTEXT, &cbor::encode(self)).ok().map(|sealed| URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Reads a link of this server, made for this client and type.
    ///
    /// # Errors
    /// `SearchError::Page` for anything else.
    pub fn open(vault: &Vault, text: &str, resource_type: &str, client: &str) -> Result<Self, SearchError> {
        if text.len() > LINK_MAX {
            return Err(SearchError::Page);
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| SearchError::Page)?;
        let plain = vault.open_row(CONTEXT, &sealed).map_err(|_| SearchError::Page)?;
        let page: Self = cbor::decode(&plain).map_err(|_| SearchError::Page)?;
        if page.resource_type != resource_type || page.client != client {
            return Err(SearchError::Page);
        }
        Ok(page)
    }

    /// The search as it was asked.
    ///
    /// # Errors
    /// `SearchError` when it can no longer be asked.
    pub fn search(&self, own_base: &str) -> Result<Search, SearchError> {
        Search::parse(&self.resource_type, own_base, &self.parameters)
    }
}
