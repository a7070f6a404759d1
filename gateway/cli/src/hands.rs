//! The operators' listener of a running gateway, as commands use it: its address from the configuration, its token from the gateway's
//! home, the name of the user whose process this is beside it. It must never print the token.

use gateway_server::http::form;
use gateway_server::operators::hands::{OPERATOR, TOKEN_FILE};
use serde::de::DeserializeOwned;

use crate::commands::run::load;
use crate::failure::{Exit, Failure};
use crate::usage;

/// A running gateway's operators' listener.
pub struct Hands {
    http: reqwest::Client,
    base: String,
    token: String,
    operator: String,
}

impl Hands {
    /// By a gateway's configuration.
    ///
    /// # Errors
    /// Usage: a bad configuration, or a token that this user cannot read.
    pub fn of(config: &std::path::Path) -> Result<Self, Failure> {
        let config = load(config)?;
        let file = config.gateway.home.join(TOKEN_FILE);
        let token = std::fs::read_to_string(&file).map_err(|e| {
            let what = "the token that a gateway writes when it starts, as the user that runs it";
            Failure::usage(format_args!("{}: {e}; expected {what}", file.display()))
        })?;
        let operator = usage::user(std::env::var("SUDO_USER").ok().as_deref());
        let base = format!("http://{}", config.gateway.operators);
        Ok(Self { http: reqwest::Client::new(), base, token: token.trim().to_owned(), operator })
    }

    /// Asks for something.
    ///
    /// # Errors
    /// `Failure`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T, Failure> {
        document(&self.send(self.http.get(self.url(path, query))).await?)
    }

    /// Changes something.
    ///
    /// # Errors
    /// `Failure`.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T, Failure> {
        document(&self.send(self.http.post(self.url(path, query))).await?)
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// `Failure`.
    pub async fn bytes(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.send(self.http.get(self.url(path, &[]))).await
    }

    fn url(&self, path: &str, query: &[(&str, String)]) -> String {
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", form::encode(value))).collect();
        format!("{}{path}?{}", self.base, query.join("&"))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, Failure> {
        let away = |e: reqwest::Error| {
            Failure::unavailable(format_args!(
                "the gateway's operators' listener cannot be reached: {}",
                e.without_url()
            ))
        };
        let request = request.bearer_auth(&self.token).header(OPERATOR, &self.operator);
        let answer = request.send().await.map_err(away)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(away)?.to_vec();
        let text = || String::from_utf8_lossy(&body).trim().to_owned();
        match status.as_u16() {
            200 => Ok(body),
            401 | 422 => Err(Failure::usage(text())),
            404 => {
                Err(Failure::usage(if body.is_empty() { "found nothing of this name or id".into() } else { text() }))
            }
            503 => Err(Failure::new(Exit::TryAgain, text())),
            _ => Err(Failure::new(Exit::Failed, format_args!("the gateway answered {status}: {}", text()))),
        }
    }
}

fn document<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|e| Failure::new(Exit::Failed, format_args!("the gateway's answer: {e}")))
}
