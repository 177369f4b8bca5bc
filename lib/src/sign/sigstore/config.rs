//! The signing configuration: which services a Sigstore instance has (`signing_config.json`, version 0.2), and which of
//! them one signature needs.

use std::{fmt, path::Path};

use serde_json::{Value, json};
use sigstore_verify::trust_root as family;

use crate::{Error, bundle::json, code::Code, fs, limits, shown::Shown};

/// The media type of the file that holds a trusted root and a signing configuration.
const TRUST_CONFIG: &str = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";

/// Largest number of services of one kind that a configuration may demand.
const SERVICES: usize = 8;

/// The services of a Sigstore instance.
#[derive(Clone)]
pub struct SigningConfig {
    family: family::SigningConfig,
    name: String,
}

/// The interface of a transparency log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RekorVersion {
    /// Rekor v1, which promises the entry and says when it was logged.
    V1,
    /// Rekor v2, which needs a timestamp authority to say when.
    V2,
}

impl RekorVersion {
    fn of(major: u32) -> Option<Self> {
        match major {
            1 => Some(RekorVersion::V1),
            2 => Some(RekorVersion::V2),
            _ => None,
        }
    }
}

/// What one signature is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Services {
    pub(super) fulcio: String,
    pub(super) rekor: Vec<(String, RekorVersion)>,
    pub(super) tsa: Vec<String>,
}

impl SigningConfig {
    /// Parses a signing configuration, or takes the one of a trust configuration (`ClientTrustConfig`). At most 1 MiB. The
    /// name is for errors.
    ///
    /// # Errors
    /// `signing-config-invalid` when it is not JSON of a known version.
    pub fn parse(bytes: &[u8], name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        let unread = |error: &dyn fmt::Display| invalid(&name, &format!("cannot be read: {error}"));
        if bytes.len() as u64 > limits::KEY_BYTES {
            return Err(invalid(&name, &format!("is larger than {} bytes", limits::KEY_BYTES)));
        }
        let text = json::check(bytes, "it").map_err(|error| unread(&error))?;
        let mut value: Value = serde_json::from_str(text).map_err(|error| unread(&error))?;
        if media_type(&value) == TRUST_CONFIG {
            value = value
                .get_mut("signingConfig")
                .map(Value::take)
                .ok_or_else(|| invalid(&name, "is a trust configuration without a signing configuration"))?;
        }
        let version = media_type(&value);
        if version != family::SIGNING_CONFIG_MEDIA_TYPE {
            return Err(invalid(
                &name,
                &format!(
                    "has the media type {:?}, which is none of a signing configuration 0.2",
                    Shown(version)
                ),
            ));
        }
        let family = serde_json::from_value(value).map_err(|error| unread(&error))?;
        Ok(SigningConfig { family, name })
    }

    /// Reads a signing configuration, or a trust configuration, from a file.
    ///
    /// # Errors
    /// `signing-config-absent` when there is no such file; the code of [`SigningConfig::parse`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let bytes = fs::read_bounded(
            path,
            limits::KEY_BYTES,
            "the signing configuration",
            Code::SigningConfigAbsent,
            Code::SigningConfigInvalid,
        )?;
        SigningConfig::parse(&bytes, path.display().to_string())
    }

    /// A configuration of these services: a certificate authority, a log, perhaps a timestamp authority, perhaps an
    /// identity provider.
    ///
    /// # Errors
    /// `signing-config-invalid`.
    pub fn of_services(
        fulcio: &str,
        rekor: (&str, RekorVersion),
        tsa: Option<&str>,
        oidc: Option<&str>,
    ) -> Result<Self, Error> {
        let service = |url: &str, version: u32| json!({"url": url, "majorApiVersion": version, "validFor": {"start": "1970-01-01T00:00:00Z"}});
        let list = |url: Option<&str>| url.map(|url| service(url, 1)).into_iter().collect::<Vec<_>>();
        let major = if rekor.1 == RekorVersion::V1 { 1 } else { 2 };
        let config = json!({
            "mediaType": family::SIGNING_CONFIG_MEDIA_TYPE,
            "caUrls": [service(fulcio, 1)],
            "rekorTlogUrls": [service(rekor.0, major)],
            "tsaUrls": list(tsa),
            "oidcUrls": list(oidc),
        });
        SigningConfig::parse(config.to_string().as_bytes(), "of the given services")
    }

    /// Where people sign in: the identity provider that is valid at this time, in seconds since 1970.
    pub fn oidc_url(&self, now: i64) -> Option<&str> {
        let now = time(now);
        self.family
            .oidc_urls
            .iter()
            .find(|provider| provider.valid_for.contains(now))
            .map(|provider| &*provider.url)
    }

    /// The services for one signature at this time.
    ///
    /// # Errors
    /// `signing-config-invalid` when too few are left.
    pub(super) fn select(&self, rekor: Option<RekorVersion>, now: i64) -> Result<Services, Error> {
        let config = &self.family;
        let fulcio = self.eligible(&config.ca_urls, now, |major| major == 1);
        let fulcio = fulcio.first().ok_or_else(|| self.lacks("certificate authority", rekor))?;
        let known =
            |major| RekorVersion::of(major).is_some_and(|version| rekor.is_none_or(|only| only == version));
        let logs = self.eligible(&config.rekor_tlog_urls, now, known);
        let logs = self.chosen(logs, &config.rekor_tlog_config, "transparency log", rekor)?;
        let tsa = self.eligible(&config.tsa_urls, now, |major| major == 1);
        let rekor: Vec<_> = logs
            .iter()
            .filter_map(|log| Some((log.url.clone(), RekorVersion::of(log.major_api_version)?)))
            .collect();
        // Rekor v1 says itself when it logged an entry.
        let timeless = rekor.iter().any(|(_, version)| *version == RekorVersion::V2);
        let tsa = if config.tsa_urls.is_empty() && !timeless {
            Vec::new()
        } else {
            self.chosen(tsa, &config.tsa_config, "timestamp authority", None)?
        };
        Ok(Services {
            fulcio: fulcio.url.clone(),
            rekor,
            tsa: tsa.iter().map(|service| service.url.clone()).collect(),
        })
    }

    /// The services that may be used, newest interface first, and of each operator one.
    fn eligible<'a>(
        &self,
        all: &'a [family::ServiceEndpoint],
        now: i64,
        known: impl Fn(u32) -> bool,
    ) -> Vec<&'a family::ServiceEndpoint> {
        let now = time(now);
        let mut fitting: Vec<_> = all
            .iter()
            .filter(|service| service.valid_for.contains(now) && known(service.major_api_version))
            .collect();
        fitting.sort_by_key(|service| std::cmp::Reverse(service.major_api_version));
        let mut operators: Vec<&str> = Vec::new();
        fitting.retain(|service| match service.operator.as_deref() {
            Some(operator) if operators.contains(&operator) => false,
            Some(operator) => {
                operators.push(operator);
                true
            }
            // Who runs it is not said: nobody else may be taken for him.
            None => true,
        });
        fitting
    }

    /// As many as the configuration demands.
    fn chosen<'a>(
        &self,
        mut services: Vec<&'a family::ServiceEndpoint>,
        config: &family::ServiceConfiguration,
        what: &str,
        rekor: Option<RekorVersion>,
    ) -> Result<Vec<&'a family::ServiceEndpoint>, Error> {
        use family::ServiceSelector;
        let most = match (config.selector, config.count) {
            (ServiceSelector::Any, _) => 1,
            (ServiceSelector::All, _) => services.len(),
            (ServiceSelector::Exact, Some(count)) if count > 0 => count as usize,
            (ServiceSelector::Exact, _) => {
                return Err(invalid(
                    &self.name,
                    &format!("demands an exact number of {what} services, and not which"),
                ));
            }
            _ => return Err(invalid(&self.name, &format!("does not say how many {what} services to use"))),
        };
        if services.is_empty() {
            return Err(self.lacks(what, rekor));
        }
        if most > services.len() || most > SERVICES {
            let (has, of) = (services.len(), if most > SERVICES { SERVICES } else { services.len() });
            return Err(invalid(
                &self.name,
                &format!(
                    "demands {most} {what} services; {has} of different operators are valid, and at most {of} are used"
                ),
            ));
        }
        services.truncate(most);
        Ok(services)
    }

    fn lacks(&self, what: &str, rekor: Option<RekorVersion>) -> Error {
        let of = match rekor {
            Some(RekorVersion::V1) => " with the interface 1",
            Some(RekorVersion::V2) => " with the interface 2",
            None => "",
        };
        invalid(&self.name, &format!("has no {what}{of} that is valid now"))
    }
}

impl fmt::Debug for SigningConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningConfig").field(&self.name).finish()
    }
}

fn invalid(name: &str, what: &str) -> Error {
    Error::new(Code::SigningConfigInvalid, format!("the signing configuration {} {what}", Shown(name)))
}

fn media_type(value: &Value) -> &str {
    value.get("mediaType").and_then(Value::as_str).unwrap_or_default()
}

fn time(unix: i64) -> jiff_02::Timestamp {
    jiff_02::Timestamp::from_second(unix).unwrap_or(jiff_02::Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn service(url: &str, major: u32, operator: &str) -> Value {
        json!({"url": url, "majorApiVersion": major, "operator": operator,
               "validFor": {"start": "2024-01-01T00:00:00Z"}})
    }

    fn good() -> Value {
        json!({
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": [service("https://fulcio", 1, "a")],
            "oidcUrls": [service("https://oidc", 1, "a")],
            "rekorTlogUrls": [service("https://rekor1", 1, "a"), service("https://rekor2", 2, "a"),
                              service("https://other1", 1, "b"), service("https://rekor3", 3, "a")],
            "tsaUrls": [service("https://tsa-a", 1, "a"), service("https://tsa-b", 1, "b")],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaConfig": {"selector": "ANY"},
        })
    }

    fn select(config: &Value, rekor: Option<RekorVersion>) -> Result<Services, Error> {
        SigningConfig::parse(config.to_string().as_bytes(), "c.json")?.select(rekor, NOW)
    }

    fn with(edit: impl FnOnce(&mut Value)) -> Value {
        let mut config = good();
        edit(&mut config);
        config
    }

    fn refused(config: &Value, rekor: Option<RekorVersion>) -> String {
        let error = select(config, rekor).unwrap_err();
        assert_eq!(error.code(), Code::SigningConfigInvalid, "{error}");
        error.to_string()
    }

    #[test]
    fn any_takes_the_newest_interface_that_is_known() {
        let services = select(&good(), None).unwrap();
        assert_eq!(services.fulcio, "https://fulcio");
        assert_eq!(services.rekor, [("https://rekor2".to_owned(), RekorVersion::V2)]);
        assert_eq!(services.tsa, ["https://tsa-a"]);
    }

    #[test]
    fn an_interface_that_is_asked_for_is_the_one_taken() {
        let services = select(&good(), Some(RekorVersion::V1)).unwrap();
        assert_eq!(services.rekor, [("https://rekor1".to_owned(), RekorVersion::V1)]);
        let only_first = with(|config| config["rekorTlogUrls"] = json!([service("https://rekor1", 1, "a")]));
        assert!(
            refused(&only_first, Some(RekorVersion::V2)).contains("transparency log with the interface 2")
        );
    }

    #[test]
    fn all_and_exact_take_one_of_each_operator() {
        let all = with(|config| config["rekorTlogConfig"] = json!({"selector": "ALL"}));
        let urls = |services: Services| services.rekor.into_iter().map(|(url, _)| url).collect::<Vec<_>>();
        assert_eq!(urls(select(&all, None).unwrap()), ["https://rekor2", "https://other1"]);
        let two = with(|config| config["tsaConfig"] = json!({"selector": "EXACT", "count": 2}));
        assert_eq!(select(&two, None).unwrap().tsa, ["https://tsa-a", "https://tsa-b"]);
        let three = with(|config| config["tsaConfig"] = json!({"selector": "EXACT", "count": 3}));
        assert!(refused(&three, None).contains("demands 3 timestamp authority services"));
        let none = with(|config| config["tsaConfig"] = json!({"selector": "EXACT"}));
        assert!(refused(&none, None).contains("not which"));
        let undefined = with(|config| config["tsaConfig"]["selector"] = json!("SERVICE_SELECTOR_UNDEFINED"));
        assert!(refused(&undefined, None).contains("does not say how many"));
    }

    #[test]
    fn services_out_of_their_time_are_not_used() {
        let over = with(|config| {
            config["rekorTlogUrls"][1]["validFor"]["end"] = json!("2025-01-01T00:00:00Z");
        });
        assert_eq!(select(&over, None).unwrap().rekor[0].0, "https://rekor1");
        let early = with(|config| config["caUrls"][0]["validFor"]["start"] = json!("2099-01-01T00:00:00Z"));
        assert!(refused(&early, None).contains("no certificate authority that is valid now"));
    }

    #[test]
    fn only_the_first_interface_of_a_log_can_do_without_a_timestamp_authority() {
        let bare = with(|config| config["tsaUrls"] = json!([]));
        assert!(refused(&bare, None).contains("no timestamp authority"));
        assert!(select(&bare, Some(RekorVersion::V1)).unwrap().tsa.is_empty());
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        let combined = json!({"mediaType": TRUST_CONFIG, "trustedRoot": {}, "signingConfig": good()});
        assert!(select(&combined, None).is_ok());
        let without = json!({"mediaType": TRUST_CONFIG, "trustedRoot": {}});
        assert!(refused(&without, None).contains("without a signing configuration"));
        let old = with(|config| {
            config["mediaType"] = json!("application/vnd.dev.sigstore.signingconfig.v0.1+json")
        });
        assert!(refused(&old, None).contains("v0.1"));
        let mistyped = with(|config| config["caUrls"] = json!("https://fulcio"));
        assert!(refused(&mistyped, None).contains("cannot be read"));
        assert!(SigningConfig::parse(b"{", "x").is_err());
        assert!(SigningConfig::parse(br#"{"mediaType": "a", "mediaType": "b"}"#, "x").is_err());
    }

    #[test]
    fn the_configurations_of_public_instances_and_of_given_services_can_be_used() {
        for text in [family::SIGSTORE_PRODUCTION_SIGNING_CONFIG, family::SIGSTORE_STAGING_SIGNING_CONFIG] {
            let config = SigningConfig::parse(text.as_bytes(), "embedded").unwrap();
            assert!(config.select(None, NOW).is_ok());
            assert!(config.oidc_url(NOW).is_some());
        }
        let own = SigningConfig::of_services("http://f", ("http://r", RekorVersion::V1), None, None).unwrap();
        assert_eq!(own.select(None, NOW).unwrap().rekor[0].0, "http://r");
    }
}
