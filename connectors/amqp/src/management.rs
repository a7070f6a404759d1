//! The broker's management API, read only: the one place where policies and bindings can be seen. Used by `inspect` alone, never on the
//! way of a message. Bounded in time and size; no error carries an address or a credential.

use std::time::Duration;

use lapin::uri::AMQPUri;
use reqwest::{Client, StatusCode, Url};
use serde_json::Value;

use crate::access::access;
use crate::config::AmqpConfig;
use crate::connection::ConnectError;

/// Longest wait for one answer, in milliseconds.
const ANSWER_MS_MAX: u64 = 10_000;
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why the API says nothing.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// A file, or TLS.
    #[error(transparent)]
    Configured(#[from] ConnectError),
    /// The file of its user.
    #[error("found no readable `management_file` with one line `user:password`")]
    File,
    /// It is not reached.
    #[error("found no answer of the management API at management_url")]
    Away,
    /// The user may not look.
    #[error("found that the management API refuses the user, expected one with the tag `monitoring` or `management`")]
    Login,
    /// It answers something else.
    #[error("found another answer than that of a management API at management_url")]
    Answer,
}

/// The API for one virtual host.
pub struct Management {
    client: Client,
    url: Url,
    vhost: String,
    user: String,
    password: String,
}

impl Management {
    /// `None` where none is configured.
    pub fn open(config: &AmqpConfig, uri: &AMQPUri) -> Result<Option<Self>, ManagementError> {
        let Some(url) = &config.management_url else { return Ok(None) };
        let url = Url::parse(url).map_err(|_| ManagementError::Answer)?;
        let (user, password) = match &config.management_file {
            None => (uri.authority.userinfo.username.clone(), uri.authority.userinfo.password.clone()),
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|_| ManagementError::File)?;
                let (user, password) = text.trim().split_once(':').ok_or(ManagementError::File)?;
                (user.to_owned(), password.to_owned())
            }
        };
        let client = Client::builder()
            .tls_backend_preconfigured(access!(config).tls()?)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_millis(ANSWER_MS_MAX))
            .build()
            .map_err(|_| ManagementError::Away)?;
        Ok(Some(Self { client, url, vhost: uri.vhost.clone(), user, password }))
    }

    /// The document at a path, where `{}` stands for the virtual host; `None` where there is none.
    pub async fn get(&self, path: &[&str]) -> Result<Option<Value>, ManagementError> {
        let mut url = self.url.clone();
        let parts = path.iter().map(|part| if *part == "{}" { self.vhost.as_str() } else { part });
        url.path_segments_mut().map_err(|()| ManagementError::Answer)?.pop_if_empty().push("api").extend(parts);
        let request = self.client.get(url).basic_auth(&self.user, Some(&self.password));
        let mut response = request.send().await.map_err(|_| ManagementError::Away)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(ManagementError::Login),
            _ => return Err(ManagementError::Answer),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| ManagementError::Away)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ManagementError::Answer);
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map(Some).map_err(|_| ManagementError::Answer)
    }
}
