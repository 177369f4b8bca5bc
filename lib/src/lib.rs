//! Weightseal signs machine-learning model weights and verifies them before anything loads them.
//!
//! It reads and writes the signatures of OpenSSF Model Signing (OMS) 1.0. The whole of it is one line:
//!
//! **source -> listing -> hash -> manifest -> statement -> sign or verify -> report**
//!
//! Signing and verifying a model on disk:
//!
//! ```
//! use weightseal::{
//!     Accept, Algorithm, Bundle, Hashing, KeySigner, KeyType, Model, Policy, PrivateKey, Replace, Run,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path();
//! # std::fs::write(path.join("model.safetensors"), [0; 16])?;
//! let key = PrivateKey::generate(KeyType::Ed25519)?;
//! let public_pem = key.public().to_pem();
//!
//! let run = Run::new();
//! let model = Model::open(path)?.release(Some("acme/llama-3".into()), Some("1.2".into()));
//! let bundle = model.sign(&Hashing::files(Algorithm::Sha256), &KeySigner::new(key), &run)?;
//! bundle.write(path.join("model.sig"), Replace::Signature)?;
//!
//! let policy = Policy::new().accept(Accept::key(public_pem)?).name("acme/llama-3");
//! let bundles = [Bundle::read(path.join("model.sig"))?];
//! match Model::open(path)?.verify(&policy, &bundles, &run) {
//!     Ok(verified) => println!("{}", verified.report()), // there is no other way to a `Verified`
//!     Err(failure) => panic!("{}", failure.report()),    // a refusal carries the whole report too
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Nothing is trusted by default, everything unknown is refused, and a model that changes while it is read is not verified.
//! Local models, the Hub's cache, keys and certificates are always in.

mod access;
mod bundle;
mod code;
#[cfg(any(feature = "hub", feature = "s3"))]
mod drip;
mod error;
mod fs;
mod hash;
#[cfg(any(feature = "hub", feature = "sigstore-tuf"))]
mod http;
mod keys;
pub mod limits;
mod loadset;
mod manifest;
mod model;
mod policy;
mod pull;
mod receipt;
mod report;
#[cfg(any(feature = "hub", feature = "s3", feature = "sigstore-tuf"))]
mod rt;
mod run;
mod safetensors;
mod shown;
mod sign;
mod source;
mod stamps;
mod sys;
#[cfg(feature = "sigstore")]
mod trust;
mod verify;
#[cfg(any(feature = "hub", feature = "s3", feature = "sigstore-tuf"))]
mod words;

pub use access::Access;
pub use bundle::{Bundle, Release, Statement};
pub use code::{Class, Code, codes_markdown};
pub use error::{Error, Result};
pub use fs::{PRIVATE, PUBLIC, Replace, abandon_unfinished, check_writable, read_key, write_whole};
pub use hash::{DEFAULT_SHARD_SIZE, Hashes, Hashing, Job, Plan, Sink, hash};
#[cfg(any(feature = "hub", feature = "sigstore-tuf"))]
pub use http::Http;
pub use keys::{KeyType, Passphrase, PrivateKey, PublicKey};
pub use loadset::{LoadKind, LoadSet, LoadSetFile, RemoteCode};
pub use manifest::{
    Algorithm, Digest, Manifest, ManifestFile, Method, Resource, ResourceName, Serialization,
};
pub use model::{Failure, Model, Verified};
pub use policy::{
    Accept, Applied, Demands, Explanation, Match, Mode, Named, POLICY_SCHEMA, Policy, PolicyFile,
    RevokedCounts, VerifiedStatement, model_id_of,
};
pub use pull::Pull;
pub use receipt::Receipts;
pub use report::{
    Assurance, Binding, Bytes, Counts, Finding, Identity, LoadSetReport, LoggedAt, PolicyReport, ProvenTime,
    REPORT_VERSION, ReceiptReport, Report, RootOrigin, RootSource, SignatureReport, Verdict,
};
pub use run::{Cancel, Clock, Events, FixedClock, NoEvents, ReadMode, Run, SystemClock};
pub use shown::{Shown, json, write_json};
#[cfg(feature = "sigstore-sign")]
pub use sign::{
    Ambient, IdentityToken, Person, RekorVersion, SignIn, SigningConfig, SigstoreSigner, TokenFile,
    TokenSource,
};
pub use sign::{CertificateSigner, KeySigner, Signer};
#[cfg(feature = "hub")]
pub use source::hub::{Hub, HubOptions};
#[cfg(feature = "s3")]
pub use source::s3::{S3, S3Options, SseCKey};
pub use source::{
    Entry, FileStamp, Kind, Shape, Source, Stamp,
    local::Local,
    memory::Memory,
    uri::{HubUri, ModelUri, RepoKind, S3Uri},
};
pub use stamps::{Stamps, Written};
pub use sys::{cache::memory_limit, lanes::Kernel, sigbus};
#[cfg(feature = "sigstore-tuf")]
pub use trust::Refresh;
#[cfg(feature = "sigstore")]
pub use trust::{
    Instance, PartyKind, TrustExpiry, TrustState, TrustStore, TrustVersions, TrustedParty, TrustedRoot,
    check_clock,
};
pub use verify::{CertificateVerifier, KeyVerifier, NotProven, Proof, Verifier, unverified_identities};
#[cfg(feature = "sigstore")]
pub use verify::{Claim, SigstoreIdentity, SigstoreVerifier};
