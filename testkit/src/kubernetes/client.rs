//! kubectl, as one user.

#![allow(clippy::expect_used, reason = "only tests call this, and a panic is how a test fails")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::run::{Ended, LIMIT, capture_within};

/// kubectl as one user of one API server.
#[derive(Clone, Debug)]
pub struct Client {
    kubectl: PathBuf,
    config: PathBuf,
    home: PathBuf,
    acting: Vec<String>,
}

impl Client {
    /// One that reads this configuration, and keeps what it remembers in the folder `home`.
    pub(super) fn new(kubectl: PathBuf, config: PathBuf, home: PathBuf) -> Client {
        Client { kubectl, config, home, acting: Vec::new() }
    }

    /// The user's configuration, for `KUBECONFIG`.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.kubectl
    }

    /// The same acting as another user, which only the admin may: `system:serviceaccount:NAMESPACE:NAME` for a service
    /// account, with its groups.
    #[must_use]
    pub fn acting_as(&self, user: &str) -> Client {
        let mut acting = vec![format!("--as={user}")];
        if let Some((namespace, _)) =
            user.strip_prefix("system:serviceaccount:").and_then(|name| name.split_once(':'))
        {
            let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")]
                .map(|group| format!("--as-group={group}"));
            acting.extend(groups);
        }
        acting.push("--as-group=system:authenticated".to_owned());
        Client { acting, ..self.clone() }
    }

    /// The command without arguments, to be run by the test.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .env("KUBECONFIG", &self.config)
            .env("HOME", &self.home)
            .env("KUBECACHEDIR", self.home.join("cache"));
        command.env("NO_PROXY", "*").env("no_proxy", "*").args(&self.acting);
        command
    }

    /// Runs kubectl with these arguments.
    ///
    /// # Panics
    /// It cannot be run, or does not end.
    pub fn kubectl<A: AsRef<OsStr>>(&self, args: &[A]) -> Ended {
        self.with_input(args, "")
    }

    /// Runs kubectl with these arguments and standard input.
    ///
    /// # Panics
    /// As [`Client::kubectl`].
    pub fn with_input<A: AsRef<OsStr>>(&self, args: &[A], input: &str) -> Ended {
        capture_within(self.command().args(args), input.as_bytes(), LIMIT).expect("kubectl runs")
    }

    /// Applies YAML or JSON, one document or several.
    ///
    /// # Panics
    /// As [`Client::kubectl`].
    pub fn apply(&self, documents: &str) -> Ended {
        self.with_input(&["apply", "--filename=-"], documents)
    }

    /// Creates YAML or JSON, one document or several. The API server sees nothing but this one request for each.
    ///
    /// # Panics
    /// As [`Client::kubectl`].
    pub fn create(&self, documents: &str) -> Ended {
        self.with_input(&["create", "--filename=-"], documents)
    }

    /// What `kubectl get` finds, as JSON.
    ///
    /// # Panics
    /// It is not there, or may not be read.
    #[track_caller]
    pub fn get(&self, args: &[&str]) -> Value {
        let ended = self.kubectl(&[&["get", "--output=json"], args].concat()).expect_code(0);
        serde_json::from_slice(&ended.stdout).expect("kubectl writes JSON")
    }
}
