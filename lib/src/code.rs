//! Codes: the one list of everything Weightseal can have to say about a model, a signature or a call.
//!
//! A [`Code`] has a kebab-case name that scripts match on, a [`Class`] that decides the exit code, a meaning, and a
//! help that says how to put it right. `docs/codes.md` is generated from this table.

use std::fmt;

use serde::{Serialize, Serializer};

/// What a finding means for the verdict; each class has one exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The signature, the identity, the policy or the content is refused: exit code 1.
    Rejected,
    /// The call itself cannot be right: exit code 2.
    Misuse,
    /// Nothing can be said about the model, hence it is not verified: exit code 3.
    CouldNotTell,
}

impl Class {
    /// The process exit code of this class: 1, 2 or 3.
    pub const fn exit(self) -> u8 {
        match self {
            Class::Rejected => 1,
            Class::Misuse => 2,
            Class::CouldNotTell => 3,
        }
    }

    /// The class in words, as reports and `docs/codes.md` print it.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Rejected => "rejected",
            Class::Misuse => "misuse",
            Class::CouldNotTell => "could-not-tell",
        }
    }
}

macro_rules! codes {
    ($($(#[doc = $group:literal])? $variant:ident, $name:literal, $class:ident, $meaning:literal, $help:literal;)*) => {
        /// The name of one kind of finding or error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $meaning] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// The stable kebab-case name, for example `file-missing`.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// The class, which decides the exit code.
            pub const fn class(self) -> Class {
                match self { $(Code::$variant => Class::$class,)* }
            }

            /// One line on what it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $meaning,)* }
            }

            /// One line on how to put it right.
            pub const fn help(self) -> &'static str {
                match self { $(Code::$variant => $help,)* }
            }
        }
    };
}

codes! {
    // The bundle as a file.
    JsonInvalid, "json-invalid", Rejected, "the bundle or its payload is not valid JSON", "fetch the signature again, or ask its signer for a new one";
    JsonTooLarge, "json-too-large", Rejected, "the bundle or its payload is larger than the limit of 160 MiB", "sign with larger shards, or split the model";
    JsonTooDeep, "json-too-deep", Rejected, "the JSON is nested more than 64 levels deep", "this is not a signature made by a known tool; do not trust it";
    JsonDuplicateKey, "json-duplicate-key", Rejected, "an object holds the same key twice, so that two readers could see two contents", "this is not a signature made by a known tool; do not trust it";
    FieldMissing, "field-missing", Rejected, "a required field is missing", "ask the signer for a complete signature";
    FieldUnknown, "field-unknown", Rejected, "a field that no version of the format has stands in the unsigned part of the bundle", "ask the signer for a signature in the OMS format";
    FieldMistyped, "field-mistyped", Rejected, "a field holds a value of the wrong type or form", "ask the signer for a signature in the OMS format";
    MediaTypeUnsupported, "media-type-unsupported", Rejected, "the bundle's media type is not one that OMS bundles have", "check that the file is a model signature; sign again with a current tool";
    MaterialMissing, "material-missing", Rejected, "the bundle says nothing about what it was signed with", "sign again with a current tool";
    MaterialAmbiguous, "material-ambiguous", Rejected, "the bundle carries more than one kind of verification material", "this is not a signature made by a known tool; do not trust it";
    MessageSignature, "message-signature", Rejected, "the bundle carries a signature over a message, which binds no statement about a model", "sign the model with a tool that writes OMS signatures";
    SignatureCount, "signature-count", Rejected, "the envelope must hold exactly one signature", "put each signature into a bundle of its own";
    PayloadTypeUnsupported, "payload-type-unsupported", Rejected, "the envelope's payload is not an in-toto statement", "check that the file is a model signature";
    StatementTypeUnsupported, "statement-type-unsupported", Rejected, "the payload is not an in-toto Statement v1", "check that the file is a model signature";
    PredicateTypeUnsupported, "predicate-type-unsupported", Rejected, "the statement is not about a signed model", "check that the file is a model signature, not a provenance or another attestation";
    SubjectCount, "subject-count", Rejected, "the statement must have exactly one subject", "sign again with a current tool";
    ResourcesEmpty, "resources-empty", Rejected, "the statement names no file, so that it would verify any model", "do not trust this signature";
    NameInvalid, "name-invalid", Rejected, "a name in the statement is not a relative path inside a model", "do not trust this signature";
    NameDuplicate, "name-duplicate", Rejected, "the statement names the same resource twice", "do not trust this signature";
    DigestMalformed, "digest-malformed", Rejected, "a digest is not lower-case hex of the length of its algorithm", "sign again with a current tool";
    AlgorithmUnsupported, "algorithm-unsupported", Rejected, "the digest algorithm or serialization method is not one of OMS", "sign again with sha256, blake2b or blake3";
    AlgorithmMismatch, "algorithm-mismatch", Rejected, "a resource has another digest algorithm than the statement declares", "do not trust this signature";
    ShardedAlgorithmLegacy, "sharded-algorithm-legacy", Rejected, "the shards were recorded under an algorithm name with a size, which the OMS schema forbids", "sign the model again in shards";
    ShardInvalid, "shard-invalid", Rejected, "a shard's name or size is not as the format has it", "do not trust this signature";
    ShardGap, "shard-gap", Rejected, "the signed shards of a file leave bytes of it uncovered", "do not trust this signature";
    ShardOverlap, "shard-overlap", Rejected, "the signed shards of a file overlap", "do not trust this signature";
    RootDigestMismatch, "root-digest-mismatch", Rejected, "the statement's root digest is not that of its resources", "do not trust this signature";

    // Signature and identity.
    SignatureInvalid, "signature-invalid", Rejected, "the signature does not fit the payload and the key", "fetch the signature again; when it stays so, the statement was changed after it was signed";
    KeyNotTrusted, "key-not-trusted", Rejected, "the bundle was signed with another key than the ones given", "give the public key of the signer, after checking that it is his";
    MethodNotAccepted, "method-not-accepted", Rejected, "the bundle was signed by a method for which no trust was given", "give what this signing method is verified with";
    MethodUnsupported, "method-unsupported", Rejected, "the bundle was signed by a method that this build cannot verify", "use a build that has the method";
    CertificateMalformed, "certificate-malformed", Rejected, "a certificate in the bundle cannot be parsed", "ask the signer for a new signature";
    CertificateExpired, "certificate-expired", Rejected, "a certificate's validity has ended", "ask the signer for a signature with a valid certificate; --at TIME checks against another time";
    CertificateNotYetValid, "certificate-not-yet-valid", Rejected, "a certificate's validity has not begun", "check this machine's clock, or wait until the certificate is valid";
    CertificateUsage, "certificate-usage", Rejected, "the signing certificate is not meant for signatures", "use a certificate with key usage digitalSignature or extended usage codeSigning";
    CertificateIdentity, "certificate-identity", Rejected, "the signing certificate names somebody else than was asked for", "check who was meant to sign, and give his whole name";
    CertificateAnchorUnknown, "certificate-anchor-unknown", Rejected, "the certificate chain does not end in a certificate that was given", "give the root certificate of the signer's authority";
    CertificateChainBroken, "certificate-chain-broken", Rejected, "the certificate chain is cut or out of order", "sign again with the whole chain, leaf first";
    CertificateNotACa, "certificate-not-a-ca", Rejected, "a certificate issued another one without being an authority", "do not trust this signature";
    CertificateKeyUsage, "certificate-key-usage", Rejected, "an authority's certificate is not meant for signing certificates", "do not trust this signature";
    CertificatePathLength, "certificate-path-length", Rejected, "the chain is longer than one of its authorities allows", "do not trust this signature";
    CertificateNameConstraint, "certificate-name-constraint", Rejected, "a name in a certificate lies outside of what its authority may certify", "do not trust this signature";
    CertificateCriticalExtension, "certificate-critical-extension", Rejected, "a certificate has a critical extension that is not understood", "use certificates without it";
    CertificatePolicy, "certificate-policy", Rejected, "an authority demands a certificate policy that the chain does not have", "use certificates issued under that policy";
    CertificateWeak, "certificate-weak", Rejected, "a certificate is signed with SHA-1 or MD5, or has an RSA key under 2048 bits", "ask the authority for certificates of today's strength";
    CertificateAlgorithm, "certificate-algorithm", Rejected, "a certificate's key or signature algorithm is not supported", "use ECDSA P-256, P-384, P-521 or Ed25519 for signing, RSA only for authorities";
    CertificateSignature, "certificate-signature", Rejected, "a certificate's own signature is wrong", "do not trust this signature";
    CertificateChainTooLong, "certificate-chain-too-long", Rejected, "the chain needs more checks than are allowed", "sign again with only the certificates that lead to the root";
    KeyRevoked, "key-revoked", Rejected, "the key that signed is revoked", "ask for a signature by a key that is not";
    CertificateRevoked, "certificate-revoked", Rejected, "a certificate of the chain is revoked", "ask for a signature with a certificate that is not";
    ModelRevoked, "model-revoked", Rejected, "the root digest of this model is revoked", "use another release of the model";

    // Sigstore.
    LogEntryMissing, "log-entry-missing", Rejected, "the bundle has no entry of a transparency log", "sign again with a current tool";
    LogEntryUnsupported, "log-entry-unsupported", Rejected, "a log entry is of a kind or version that is not known", "sign again with a current tool";
    LogEntryMismatch, "log-entry-mismatch", Rejected, "a log entry is about another signature, payload or certificate", "do not trust this signature";
    LogUnknown, "log-unknown", Rejected, "a log entry is of a log that the trusted root does not have", "give the trusted root of the instance that signed, or refresh it";
    LogKeyExpired, "log-key-expired", Rejected, "the log's key was not valid when the signature was made", "do not trust this signature";
    LogProofMissing, "log-proof-missing", Rejected, "a log entry has no proof that the log holds it", "sign again with a current tool";
    LogProofInvalid, "log-proof-invalid", Rejected, "the proof that the log holds the entry is wrong", "do not trust this signature";
    LogPromiseInvalid, "log-promise-invalid", Rejected, "the log's promise to hold the entry is wrong", "do not trust this signature";
    LogRootMismatch, "log-root-mismatch", Rejected, "the proof and the checkpoint differ in the tree's root", "do not trust this signature";
    LogSizeMismatch, "log-size-mismatch", Rejected, "the proof and the checkpoint differ in the tree's size, or the entry lies outside of the tree", "do not trust this signature";
    CheckpointForeign, "checkpoint-foreign", Rejected, "the checkpoint is not of the log that the entry names", "do not trust this signature";
    CheckpointInvalid, "checkpoint-invalid", Rejected, "the checkpoint cannot be read, or the log's signature on it is wrong", "do not trust this signature";
    SctMissing, "sct-missing", Rejected, "the certificate carries no proof that it was logged", "do not trust this signature";
    SctInvalid, "sct-invalid", Rejected, "the proof that the certificate was logged is wrong, or of a log that the trusted root does not have", "give the trusted root of the instance that signed, or refresh it";
    TimestampInvalid, "timestamp-invalid", Rejected, "a timestamp is not of this signature, or its own signature is wrong", "do not trust this signature";
    TimestampUntrusted, "timestamp-untrusted", Rejected, "a timestamp is by an authority that the trusted root does not have, or did not have at that time", "give the trusted root of the instance that signed, or refresh it";
    TimeUnproven, "time-unproven", Rejected, "nothing proves when the signature was made", "sign again with a timestamp authority";
    TimeInFuture, "time-in-future", Rejected, "the signature was made in the future", "check this machine's clock; otherwise do not trust this signature";
    IdentityNotExpected, "identity-not-expected", Rejected, "somebody else signed than was asked for", "check who was meant to sign, and give his whole identity";
    IssuerNotExpected, "issuer-not-expected", Rejected, "somebody else vouches for the identity than was asked for", "check who was meant to vouch, and give the whole issuer";
    ClaimNotExpected, "claim-not-expected", Rejected, "the certificate says otherwise, or nothing, of the build that signed", "check which repository, branch and trigger were meant";
    TrustRootStale, "trust-root-stale", CouldNotTell, "the trusted root is older than is allowed", "refresh it with weightseal trust refresh, or import a current one";
    TrustRootInvalid, "trust-root-invalid", Misuse, "the trusted root is not a file of a known version, or is empty", "give a trusted_root.json, or a trust configuration that holds one";
    TrustRootAbsent, "trust-root-absent", Misuse, "there is no trusted root at the place that was given", "check the path";
    ClockWrong, "clock-wrong", CouldNotTell, "this machine's clock is before the day on which this program was built", "set the clock";

    // Services and tokens.
    ServiceFailed, "service-failed", CouldNotTell, "a server that was needed was out of reach, refused, or gave no answer that can be used", "check its address, the network and the proxy, and try again";
    BundleUnverifiable, "bundle-unverifiable", CouldNotTell, "the signature that was just made cannot be verified with the trusted root, so that it was not written", "give the trusted root of the instance that signs";
    SigningConfigInvalid, "signing-config-invalid", Misuse, "the signing configuration is not a file of a known version, or leaves no service to sign with", "give a signing_config.json of version 0.2, or a trust configuration that holds one";
    SigningConfigAbsent, "signing-config-absent", Misuse, "there is no signing configuration at the place that was given", "check the path";
    TokenMissing, "token-missing", Misuse, "there is no identity to sign with", "give an identity token";
    TokenAbsent, "token-absent", Misuse, "there is no identity token at the place that was given", "check the path";
    TokenMalformed, "token-malformed", Misuse, "the identity token is not one of OpenID Connect", "give the token itself, three parts with dots between them";
    TokenAudience, "token-audience", Misuse, "the identity token was made for somebody else than the certificate authority", "ask for a token with the audience that the authority expects, sigstore as a rule";
    TokenUnverified, "token-unverified", Misuse, "the identity provider has not checked the token's mail address", "confirm the address with the provider, and sign in again";
    TokenIssuer, "token-issuer", Misuse, "the certificate authority does not know the token's issuer", "use a token of an issuer that the authority lists";
    TokenExpired, "token-expired", CouldNotTell, "the identity token's time is over", "get a new token, and sign again";
    TokenNotYetValid, "token-not-yet-valid", CouldNotTell, "the identity token's time has not begun", "check this machine's clock";
    TokenUnavailable, "token-unavailable", CouldNotTell, "the identity provider gave no token", "check that the job or the person may ask for one, and try again";

    // Trust: the cache of the trusted root, and how it is refreshed.
    TrustRefreshFailed, "trust-refresh-failed", CouldNotTell, "the current trusted root could not be fetched", "try again; --trust-refresh auto does with the one that is there, --offline does not ask";
    TrustMetadataExpired, "trust-metadata-expired", CouldNotTell, "what the trust repository serves has expired, so that it may be an old copy held back", "check this machine's clock, or ask another mirror";
    TrustMetadataRollback, "trust-metadata-rollback", CouldNotTell, "what the trust repository serves is older than what it served before", "ask another mirror; somebody may be hiding a revocation";
    TrustMetadataSignature, "trust-metadata-signature", CouldNotTell, "what the trust repository serves is not signed by enough of the keys that must sign it", "check the address of the mirror and its root.json; do not use it otherwise";
    TrustMetadataMismatch, "trust-metadata-mismatch", CouldNotTell, "a file of the trust repository is not the one that its signed metadata lists", "try again; when it stays so, ask another mirror";
    TrustMetadataInvalid, "trust-metadata-invalid", CouldNotTell, "what the trust repository serves cannot be read, or lists no trusted root", "check the address of the mirror";
    TrustCacheUnsafe, "trust-cache-unsafe", CouldNotTell, "others can write the cache of the trusted root, or it is reached through a link", "remove it, or name a folder that is yours alone by WEIGHTSEAL_TRUST_CACHE";
    TrustCacheInvalid, "trust-cache-invalid", CouldNotTell, "the cache of the trusted root is not as it was written, or does not verify", "remove it, and fetch the trusted root again with weightseal trust refresh";

    // Policy.
    SignatureMissing, "signature-missing", Rejected, "the model has no signature", "sign the model, or give the signature with --signature";
    TooFewSignatures, "too-few-signatures", Rejected, "fewer signers than the policy requires have signed", "add the missing signatures";
    DigestNotExpected, "digest-not-expected", Rejected, "the signature is for another model or release than the expected digest", "check which release was meant";
    ModelNotExpected, "model-not-expected", Rejected, "the policy is for another model than this one", "check the model's id, or write a rule for it";
    NameNotExpected, "name-not-expected", Rejected, "the signed name of the model is absent or another one", "check which model was meant";
    VersionNotExpected, "version-not-expected", Rejected, "the signed version of the model is absent or another one", "check which release was meant";
    VersionTooLow, "version-too-low", Rejected, "the signed version of the model is older than the policy accepts", "use a later release of the model";
    VersionIncomparable, "version-incomparable", Rejected, "the signed version of the model is not made of numbers with dots between, and cannot be compared", "sign with a version such as 1.2.0, or demand the version or digest itself";
    SignedTooEarly, "signed-too-early", Rejected, "the model was signed before the time that the policy demands", "ask for a new signature";
    StatementsDiffer, "statements-differ", Rejected, "the accepted signatures are not over the same content", "have all signers sign the model as it is, with the same settings";
    PolicyNoRule, "policy-no-rule", Rejected, "no rule of the policy is for this model", "check the model's id (--model-id), or write a rule for it";
    AssuranceTooLow, "assurance-too-low", Rejected, "the check was weaker than the policy requires", "verify by reading every byte, or accept the assurance stated";

    // Content.
    FileMissing, "file-missing", Rejected, "a signed file is not in the model", "fetch the model again, whole";
    FileUnsigned, "file-unsigned", Rejected, "a file in the model is not in the signature", "remove it, or pass --ignore-unsigned-files if it cannot do harm";
    FileChanged, "file-changed", Rejected, "a file's bytes are not the ones that were signed", "fetch the file again; when it stays so, it was changed";
    FileLonger, "file-longer", Rejected, "a file is longer than what was signed", "fetch the file again";
    FileShorter, "file-shorter", Rejected, "a file is shorter than what was signed", "fetch the file again; the download may have been cut";
    NotAFile, "not-a-file", Rejected, "a folder stands where a file was signed", "fetch the model again";
    SpecialFile, "special-file", Rejected, "a pipe, socket or device stands in the model", "remove it";
    SymlinkRefused, "symlink-refused", Rejected, "a symbolic link stands in the model", "replace it by the file, or pass --allow-symlinks for a model that was signed with links";
    SymlinkEscapes, "symlink-escapes", Rejected, "a symbolic link leads out of the model", "replace it by the file";
    SymlinkCycle, "symlink-cycle", Rejected, "a symbolic link leads back to itself", "remove it";
    SymlinkDangling, "symlink-dangling", Rejected, "a symbolic link leads to nothing", "remove it, or put the file where it points";
    FileNameInvalid, "file-name-invalid", Rejected, "a file's name is not valid UTF-8, too long to be signed, or leads out of its folder", "rename the file";
    EncryptionNotExpected, "encryption-not-expected", Rejected, "a file is not encrypted in the store as was demanded", "put the file into the store again, under the key that was meant";

    // Load set.
    LoadSetUnsigned, "load-set-unsigned", Rejected, "a file that model servers load is not signed, and was hidden from the check", "remove it, or sign the model with it";
    LoadSetIncomplete, "load-set-incomplete", Rejected, "an index, a configuration or a part of a file names a file that is neither in the model nor signed", "fetch the model again, whole; when it stays so, ask its signer";
    LoadSetInvalid, "load-set-invalid", Rejected, "a file that model servers load is not as its format has it", "do not load this model; ask its signer for a whole one";
    RemoteCode, "remote-code", Rejected, "the model has code of another repository loaded, which nobody signed with it", "put the code into the model, and sign both";
    BaseModelNotExpected, "base-model-not-expected", Rejected, "the adapter builds on another model than the policy demands, or the model is no adapter", "check which adapter was meant";

    // Could not tell.
    ChangedWhileRead, "changed-while-read", CouldNotTell, "the model changed while it was read", "try again when nobody writes to it";
    PermissionDenied, "permission-denied", CouldNotTell, "something could not be read for lack of permission", "run as a user who may read it";
    AccessDenied, "access-denied", CouldNotTell, "a store refused access", "check the credentials, and what they may read";
    ListingInvalid, "listing-invalid", CouldNotTell, "a store's list of the model's files contradicts itself, or is not whole", "try again; when it stays so, do not use this store or mirror";
    NotStated, "not-stated", CouldNotTell, "the store states no digest that could be compared with the signed one", "verify by reading the bytes: without --stated";
    StatementsUnlike, "statements-unlike", CouldNotTell, "the accepted signatures hash the model in different ways, and its store could answer each of them with other bytes", "pull the model and verify the copy, or give signatures of one kind";
    PullUnfinished, "pull-unfinished", CouldNotTell, "a pull into this folder is under way, or was cut", "wait for it, or run weightseal pull again";
    IoFailed, "io-failed", CouldNotTell, "reading or writing failed", "check the disk or the network file system, and try again";
    DiskFull, "disk-full", CouldNotTell, "there is no room left to write the result", "free some room and try again; nothing was left behind";
    TooManyEntries, "too-many-entries", CouldNotTell, "the model has more files, folders or links than can be handled", "check the folder for links that multiply";
    DeadlinePassed, "deadline-passed", CouldNotTell, "the time allowed ran out", "allow more time";
    Interrupted, "interrupted", CouldNotTell, "a signal ended the run", "run it again";
    Panicked, "panicked", CouldNotTell, "an error in this program", "please report it with the command and the output";
    TruncatedWhileMapped, "truncated-while-mapped", CouldNotTell, "a file was truncated while it was mapped into memory", "try again when nobody writes to the model";

    // Misuse.
    BadArgument, "bad-argument", Misuse, "an argument is not as it must be", "see --help";
    ArgumentsConflict, "arguments-conflict", Misuse, "arguments contradict each other", "see --help";
    TrustMissing, "trust-missing", Misuse, "nothing was given that a signature could be trusted by", "give a public key, a root certificate or an identity";
    FeatureMissing, "feature-missing", Misuse, "this build does not have what was asked for", "use a build that has it";
    UriInvalid, "uri-invalid", Misuse, "a URI is not one of a model or of a file in a store", "write s3://bucket/prefix or hf://org/name@revision";
    TransportInsecure, "transport-insecure", Misuse, "a store would be spoken to without TLS", "use https, or allow it with --allow-http";
    ModelAbsent, "model-absent", Misuse, "there is no model at this place", "check the path";
    ModelEmpty, "model-empty", Misuse, "the model has no file that could be signed", "check the path and what is ignored";
    SignatureAbsent, "signature-absent", Misuse, "there is no signature file at the place that was given", "check the path";
    KeyAbsent, "key-absent", Misuse, "there is no key or certificate file at this place", "check the path";
    KeyMalformed, "key-malformed", Misuse, "a key or certificate that was given cannot be used", "give a PEM file: SPKI for public keys, PKCS#8 or SEC1 for private ones";
    KeyUnsupported, "key-unsupported", Misuse, "a key that was given is of a type that model signatures do not use", "use Ed25519, or ECDSA on P-256, P-384 or P-521";
    PassphraseMissing, "passphrase-missing", Misuse, "the private key is encrypted and no passphrase was given", "give the passphrase by prompt, file or variable";
    PassphraseWrong, "passphrase-wrong", Misuse, "the passphrase does not open the private key", "check the passphrase";
    OutputExists, "output-exists", Misuse, "the output would replace a file that is not a signature", "choose another name, or force it";
    PolicyAbsent, "policy-absent", Misuse, "there is no policy file at the place that was given", "check the path";
    PolicyAmbiguous, "policy-ambiguous", Misuse, "several rules of the policy are for this model, and none of them is more specific", "make the pattern of one of them more specific";
    PolicyNotExpected, "policy-not-expected", Misuse, "the policy is not the one whose digest was given, or trusts what lies in files of its own", "restore the policy, or give the digest of the new one (sha256sum policy.yaml); put keys and certificates into the policy itself";
    PolicyInvalid, "policy-invalid", Misuse, "the policy cannot be used", "correct the policy";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The text of `docs/codes.md`: every code by class, with its meaning and help.
pub fn codes_markdown() -> String {
    let mut out = String::from(
        "# Codes\n\nEvery finding and error carries one of these codes, in text, JSON and annotations. \
         The class decides the exit code. This page is generated from `lib/src/code.rs`.\n",
    );
    for class in [Class::Rejected, Class::Misuse, Class::CouldNotTell] {
        out.push_str(&format!(
            "\n## {} (exit code {})\n\n| code | meaning | what to do |\n|---|---|---|\n",
            class.name(),
            class.exit()
        ));
        for code in Code::ALL.iter().filter(|code| code.class() == class) {
            out.push_str(&format!("| `{}` | {} | {} |\n", code.name(), code.meaning(), code.help()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_kebab_case_and_texts_are_whole() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code}");
            for text in [code.meaning(), code.help()] {
                assert!(!text.is_empty() && !text.ends_with('.'), "{code}: {text}");
            }
        }
    }

    #[test]
    fn the_page_of_codes_is_up_to_date() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/codes.md");
        if std::env::var_os("WEIGHTSEAL_UPDATE").is_some() {
            std::fs::write(page, codes_markdown()).unwrap();
        }
        let stored = std::fs::read_to_string(page).unwrap_or_default();
        assert!(
            stored == codes_markdown(),
            "run the tests once with WEIGHTSEAL_UPDATE=1 to write docs/codes.md"
        );
    }
}
