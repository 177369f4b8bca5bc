//! How stores are reached: what their own tools read from the environment, and what was said of TLS.

use std::path::PathBuf;

use weightseal::{Access, Error, HubOptions, read_key};

use crate::settings::Given;

/// What was told about stores.
#[derive(Debug)]
pub(crate) struct Stores {
    tls_ca: Option<PathBuf>,
    allow_http: bool,
    token_hosts: Vec<String>,
}

impl Stores {
    /// Reads the settings.
    ///
    /// # Errors
    /// `bad-argument`.
    pub(crate) fn given(given: &Given) -> Result<Self, Error> {
        Ok(Stores {
            tls_ca: given.path("tls-ca"),
            allow_http: given.switch("allow-http")?,
            token_hosts: given.texts("hf-token-host")?,
        })
    }

    /// How stores are reached; `offline` asks none of them, and finds models in the Hub's cache.
    ///
    /// # Errors
    /// Those of reading the roots of TLS.
    pub(crate) fn access(&self, offline: bool) -> Result<Access, Error> {
        let hub = HubOptions::new().offline(offline);
        let hub = self.token_hosts.iter().fold(hub, |hub, host| hub.token_host(host));
        let access = Access::new().allow_http(self.allow_http).hub(hub);
        Ok(match &self.tls_ca {
            Some(file) => access.tls_ca(&read_key(file)?),
            None => access,
        })
    }
}
