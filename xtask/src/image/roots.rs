//! The authorities that TLS trusts in the image.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::Done;

/// Where programs look for them.
pub(super) const PLACE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Which ones lie in the image.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// Mozilla's, as the crate in Cargo.lock has them, so that every machine builds the same image.
    Mozilla,
    /// Those of a file in PEM.
    File(PathBuf),
    /// None: they are mounted.
    None,
}

impl Roots {
    /// As `--roots` says.
    pub(super) fn parse(value: &OsString) -> Roots {
        if value == "none" { Roots::None } else { Roots::File(value.into()) }
    }

    /// They in PEM, if there are any.
    pub(super) fn pem(&self) -> Done<Option<Vec<u8>>> {
        match self {
            Roots::None => Ok(None),
            Roots::Mozilla => Ok(Some(mozilla().into_bytes())),
            Roots::File(path) => match fs::read(path) {
                Ok(pem) => Ok(Some(pem)),
                Err(error) => Err(format!("{}: {error}", path.display()).into()),
            },
        }
    }
}

fn mozilla() -> String {
    let mut pem = String::new();
    for certificate in TLS_SERVER_ROOT_CERTS {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(certificate).as_bytes().chunks(64) {
            pem.extend(line.iter().copied().map(char::from));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mozillas_are_a_hundred_and_more_in_pem() {
        let pem = Roots::Mozilla.pem().expect("it is built in").expect("there are some");
        let pem = String::from_utf8(pem).expect("it is text");
        assert!(pem.matches("-----BEGIN CERTIFICATE-----\nMII").count() > 100);
        assert!(pem.lines().all(|line| line.len() <= 64));
        assert_eq!(Roots::parse(&"none".into()).pem().expect("nothing is read"), None);
        assert!(Roots::parse(&"/no/such".into()).pem().is_err());
    }
}
