//! Digests and their algorithms (OMS 1.0, algorithm registry).

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::{Error, code::Code, shown::Shown};

/// A digest algorithm of the OMS registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-256 (FIPS 180-4), 32 bytes; what every implementation verifies.
    Sha256,
    /// BLAKE2b with its full length of 64 bytes (RFC 7693), without key, salt or personalization.
    Blake2b,
    /// BLAKE3, 32 bytes, without key.
    Blake3,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Blake2b, Algorithm::Blake3];

    /// The name in statements: `sha256`, `blake2b` or `blake3`.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Blake2b => "blake2b",
            Algorithm::Blake3 => "blake3",
        }
    }

    /// The length of its digests, in bytes: 32 or 64.
    pub const fn length(self) -> usize {
        match self {
            Algorithm::Sha256 | Algorithm::Blake3 => 32,
            Algorithm::Blake2b => 64,
        }
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    /// # Errors
    /// `algorithm-unsupported` for any other name.
    fn from_str(name: &str) -> Result<Self, Error> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name).ok_or_else(|| {
            Error::new(
                Code::AlgorithmUnsupported,
                format!("digest algorithm {:?} is none of sha256, blake2b and blake3", Shown(name)),
            )
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A digest: its algorithm and its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// The first `algorithm.length()` bytes count; the rest is zero.
    bytes: [u8; 64],
}

impl Digest {
    /// A digest from its raw bytes.
    ///
    /// # Errors
    /// `digest-malformed` when the length is not the algorithm's.
    pub fn new(algorithm: Algorithm, raw: &[u8]) -> Result<Self, Error> {
        let mut bytes = [0; 64];
        match bytes.get_mut(..raw.len()) {
            Some(room) if raw.len() == algorithm.length() => room.copy_from_slice(raw),
            _ => {
                return Err(Error::new(
                    Code::DigestMalformed,
                    format!("a {algorithm} digest has {} bytes, not {}", algorithm.length(), raw.len()),
                ));
            }
        }
        Ok(Digest { algorithm, bytes })
    }

    /// A SHA-256 digest from its 32 bytes.
    pub(crate) fn sha256(raw: [u8; 32]) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&raw);
        Digest { algorithm: Algorithm::Sha256, bytes }
    }

    /// A digest from lower-case hex, as statements hold it.
    ///
    /// # Errors
    /// `digest-malformed` when it is not lower-case hex of the right length.
    pub fn from_hex(algorithm: Algorithm, hex: &str) -> Result<Self, Error> {
        let malformed = || {
            Error::new(
                Code::DigestMalformed,
                format!(
                    "{:?} is not a {algorithm} digest in {} lower-case hex digits",
                    Shown(hex),
                    2 * algorithm.length()
                ),
            )
        };
        if hex.len() != 2 * algorithm.length() {
            return Err(malformed());
        }
        let mut bytes = [0; 64];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            match pair {
                [high, low] => {
                    *byte =
                        (nibble(*high).ok_or_else(malformed)? << 4) | nibble(*low).ok_or_else(malformed)?
                }
                _ => return Err(malformed()),
            }
        }
        Ok(Digest { algorithm, bytes })
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.length()]
    }

    /// The bytes in lower-case hex.
    pub fn hex(&self) -> String {
        hex(self.as_bytes())
    }
}

/// Bytes in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// `sha256:0a1b…`: the form in which users write and read digests.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = Error;

    /// Parses `ALGORITHM:HEX`; hex alone is taken as SHA-256.
    ///
    /// # Errors
    /// `algorithm-unsupported`, `digest-malformed`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (algorithm, hex) = text.split_once(':').unwrap_or(("sha256", text));
        Digest::from_hex(algorithm.parse()?, hex)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_lower_case_and_of_the_right_length() {
        let good = "0123456789abcdef".repeat(4);
        let digest = Digest::from_hex(Algorithm::Sha256, &good).unwrap();
        assert_eq!(digest.hex(), good);
        assert_eq!(format!("sha256:{good}").parse::<Digest>().unwrap(), digest);
        for bad in [
            good.to_uppercase(),
            good[1..].to_owned(),
            format!("{good}00"),
            good.replace('a', "g"),
            "é".repeat(32),
        ] {
            assert_eq!(
                Digest::from_hex(Algorithm::Sha256, &bad).unwrap_err().code(),
                Code::DigestMalformed,
                "{bad}"
            );
        }
        assert!(Digest::from_hex(Algorithm::Blake2b, &good).is_err());
        assert_eq!("md5:00".parse::<Digest>().unwrap_err().code(), Code::AlgorithmUnsupported);
    }
}
