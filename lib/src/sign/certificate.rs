//! Signing method certificate (OMS 1.0): a key, its certificate, and what leads to the root.

use super::{Signer, key::seal};
use crate::{
    Bundle, Error, Run, Statement,
    bundle::Material,
    code::Code,
    keys::{PrivateKey, PublicKey},
    verify::x509,
};

/// Signs with the private key of a certificate.
#[derive(Debug)]
pub struct CertificateSigner {
    key: PrivateKey,
    /// DER, leaf first.
    chain: Vec<Vec<u8>>,
}

impl CertificateSigner {
    /// A signer with this key, its certificate, and the certificates that lead to the root, all in PEM. The root itself may
    /// be left out.
    ///
    /// # Errors
    /// `key-malformed` when the certificate is not that of the key, or cannot be parsed.
    pub fn new(key: PrivateKey, certificate_pem: &[u8], chain_pem: &[u8]) -> Result<Self, Error> {
        let malformed = |problem: x509::Problem| {
            Error::new(Code::KeyMalformed, format!("a given certificate cannot be used: {problem}"))
        };
        let mut certificates = x509::ders_from_pem(certificate_pem).map_err(malformed)?.into_iter();
        let leaf = certificates
            .next()
            .ok_or_else(|| Error::new(Code::KeyMalformed, "there is no certificate to sign with"))?;
        let public = PublicKey::from_der(&x509::public_key_der(&leaf).map_err(malformed)?)?;
        if public != *key.public() {
            return Err(Error::new(
                Code::KeyMalformed,
                "the signing certificate is not that of the private key",
            ));
        }
        let mut chain = vec![leaf];
        // What follows the leaf in its own file belongs to the chain, as in the files that authorities hand out.
        chain.extend(certificates);
        if !chain_pem.is_empty() {
            for der in x509::ders_from_pem(chain_pem).map_err(malformed)? {
                if !chain.contains(&der) {
                    chain.push(der);
                }
            }
        }
        Ok(CertificateSigner { key, chain })
    }
}

impl Signer for CertificateSigner {
    fn sign(&self, statement: &Statement, run: &Run) -> Result<Bundle, Error> {
        run.check()?;
        let envelope = seal(&self.key, statement.payload())?;
        let material = Material::Certificates(self.chain.clone());
        Ok(Bundle::new(material, envelope))
    }
}
