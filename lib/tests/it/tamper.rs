//! Every bad input: a case that verifies, one thing changed, and the code of what is found.

mod certificate;
mod content;
mod fields;
mod ignore;
mod json;
mod keys;
mod links;
mod misnamed;
mod moving;
mod policy;
mod shards;
mod shown;
#[cfg(feature = "sigstore")]
mod sigstore;
mod single;
mod statement;
mod writing;
