//! Which servers there are, and where they are built.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::go::{ITSELF, Own, Programs};
use crate::skip::Missing;

/// What is built as it comes: the name here, and the package with its version. Newer releases of Rekor and of
/// rekor-tiles need a newer Go.
const PACKAGES: &[(&str, &str)] = &[
    ("fulcio", "github.com/sigstore/fulcio@v1.8.8"),
    ("tesseract", "github.com/transparency-dev/tesseract/cmd/tesseract/posix@v0.1.1"),
    ("rekor-tiles", "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix@v2.3.0"),
    ("rekor-server", "github.com/sigstore/rekor/cmd/rekor-server@v1.5.4"),
];

macro_rules! own {
    ($name:literal) => {
        Own {
            name: $name,
            files: [
                ("main.go", include_str!(concat!("../../go/", $name, "/main.go"))),
                ("go.mod", include_str!(concat!("../../go/", $name, "/go.mod"))),
                ("go.sum", include_str!(concat!("../../go/", $name, "/go.sum"))),
            ],
            package: ITSELF,
            linker: "",
        }
    };
}

const OWN: &[Own] = &[own!("trillian-mem"), own!("timestamp-server")];

const PROGRAMS: Programs = Programs {
    title: "the servers of Sigstore",
    folder: "sigstore",
    packages: PACKAGES,
    own: OWN,
    ready: &[],
};

/// The folder with the programs, which are built unless they are there.
///
/// They are kept in `sigstore-VERSIONS/bin` in the folder that `WEIGHTSEAL_SERVICES` names, else in
/// `weightseal-testkit` in the user's cache, else under the target folder. The first build takes minutes; several tests
/// and processes may ask at the same time: one builds, the others wait.
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
