//! Which servers there are, and where they are built.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::go::Programs;
use crate::skip::Missing;

/// Tagged releases of MinIO cannot be built this way, since their module claims no major version.
const PROGRAMS: Programs = Programs {
    title: "the servers that speak S3",
    folder: "s3",
    packages: &[
        ("minio", "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"),
        ("versitygw", "github.com/versity/versitygw/cmd/versitygw@v1.8.0"),
    ],
    own: &[],
    ready: &[],
};

/// The folder with `minio` and `versitygw`, which are built unless they are there.
///
/// They are kept in `s3-VERSIONS/bin` in the folder that `WEIGHTSEAL_SERVICES` names, else in `weightseal-testkit` in
/// the user's cache, else under the target folder. The first build takes minutes; several tests and processes may ask
/// at the same time: one builds, the others wait.
///
/// # Errors
/// There is no Go that is new enough, or the modules cannot be had.
pub fn build() -> Result<PathBuf, Missing> {
    static KNOWN: OnceLock<Result<PathBuf, Missing>> = OnceLock::new();
    KNOWN.get_or_init(|| PROGRAMS.built()).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_pinned() {
        PROGRAMS.assert_pinned();
    }
}
