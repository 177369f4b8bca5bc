//! What the library promises to whoever uses it, tested through its public face alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do: by a panic that says why"
)]

mod fuzz;
mod good;
mod hashing;
mod legacy;
mod limits;
mod load_set;
mod offline;
mod peers;
mod policy_file;
mod pull;
mod receipts;
#[cfg(feature = "hub")]
mod remote_hub;
#[cfg(feature = "s3")]
mod remote_s3;
mod roundtrip;
#[cfg(feature = "sigstore-sign")]
mod sigstore_sign;
mod source_contract;
mod stated;
mod tamper;
#[cfg(feature = "sigstore-tuf")]
mod trust;
mod vectors;
