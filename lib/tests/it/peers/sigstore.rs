//! Sigstore bundles of the older releases. They know the public instances only, so that a script puts a private one in
//! their place; what is signed, and how, is theirs.

use std::fs;

use testkit::{or_skip, peers::peer, sigstore::shared, temporary};
use weightseal::{Accept, Code, Model, SigstoreIdentity, SigstoreVerifier, TrustedRoot};

use super::{codes, rich};

const EMAIL: &str = "dev@example.com";

/// Signs with Rekor v1, the only one that they know: release, model, bundle, token, trusted root, Fulcio, Rekor.
const SCRIPT: &str = r#"
import pathlib, sys
release, model, bundle, token, root, fulcio, rekor = sys.argv[1:]
from sigstore import oidc, sign
from sigstore._internal.fulcio import FulcioClient
from sigstore._internal.rekor.client import RekorClient
from sigstore._internal.trust import TrustedRoot
private = staticmethod(lambda: sign.SigningContext(
    fulcio=FulcioClient(fulcio), rekor=RekorClient(rekor), trusted_root=TrustedRoot.from_file(root)))
sign.SigningContext.production = sign.SigningContext.staging = private
oidc.Issuer.production = oidc.Issuer.staging = staticmethod(lambda: None)
if release == "0.2.0":
    from model_signing.hashing import file, memory
    from model_signing.serialization import serialize_by_file
    from model_signing.signing import in_toto, sign_sigstore
    by_file = serialize_by_file.ManifestSerializer(
        file_hasher_factory=lambda path: file.SimpleFileHasher(path, memory.SHA256()))
    statement = in_toto.DigestsIntotoPayload.from_manifest(by_file.serialize(pathlib.Path(model)))
    signer = sign_sigstore.SigstoreDSSESigner(identity_token=token, use_staging=True)
    signer.sign(statement).write(pathlib.Path(bundle))
else:
    from model_signing import signing
    signing.Config().use_sigstore_signer(identity_token=token, use_staging=True).sign(model, bundle)
"#;

#[test]
fn sigstore_bundles_of_older_releases_verify_and_their_twins_do_not() {
    let Some(sigstore) = or_skip(shared()) else { return };
    for release in ["0.2.0", "0.3.1", "1.0.0", "1.0.1"] {
        let Some(peer) = or_skip(peer(release)) else { return };
        let folder = temporary().unwrap();
        let (model, bundle) = (folder.path().join("model"), folder.path().join("model.sig"));
        fs::create_dir(&model).unwrap();
        rich(&model);
        let arguments = [
            release.into(),
            model.clone().into(),
            bundle.clone().into(),
            sigstore.token(EMAIL).into(),
            sigstore.trusted_root().into(),
            sigstore.fulcio_url().into(),
            sigstore.rekor_v1_url().into(),
        ];
        peer.script(SCRIPT, &arguments, None).unwrap().expect_code(0);

        let root = TrustedRoot::read(sigstore.trusted_root()).unwrap();
        let found = |identity: &str| {
            let who = SigstoreIdentity::new(identity, sigstore.issuer());
            let accept = Accept::verifier(SigstoreVerifier::new(root.clone(), who));
            codes(&Model::open(&model).unwrap(), &bundle, accept)
        };
        assert_eq!(found(EMAIL), [], "{release}");
        assert_eq!(found("dev@example.co"), [Code::IdentityNotExpected], "{release}");
        fs::write(model.join("config.json"), "{}").unwrap();
        assert_eq!(found(EMAIL), [Code::FileChanged], "{release}");
    }
}
