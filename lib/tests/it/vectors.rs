//! Bundles that releases of the Python implementation made, kept in `testdata`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use weightseal::{Bundle, Code, Failure, Model, Policy, Report, Run, Verified};

const RELEASES: [&str; 6] = ["0.2.0", "0.3.1", "1.0.0", "1.0.1", "1.1.0", "1.1.1"];

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata")
}

fn report(model: &Path, release: &str) -> Report {
    let bundle = Bundle::read(testdata().join(format!("bundles/model_signing-{release}.sig"))).unwrap();
    let key = fs::read(testdata().join("bundles/p384.pub")).unwrap();
    let policy = Policy::new().accept(weightseal::Accept::key(key).unwrap());
    let verdict = Model::open(model).unwrap().verify(&policy, &[bundle], &Run::new());
    verdict.map_or_else(Failure::into_report, Verified::into_report)
}

#[test]
fn each_release_made_a_bundle_that_verifies_and_holds() {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("deploy")).unwrap();
    for file in ["config.json", "deploy-a", "deploy.md", "deploy/x", "empty", "model.bin"] {
        fs::copy(testdata().join("models/small").join(file), copy.path().join(file)).unwrap();
    }
    for release in RELEASES {
        let good = report(&testdata().join("models/small"), release);
        assert!(good.is_verified() && good.counts.verified == 6, "{release}: {good}");
        let good = report(copy.path(), release);
        assert!(good.is_verified(), "{release}: {good}");
        let legacy = good.signatures[0].notes.iter().any(|note| note.contains("0.2.0"));
        assert_eq!(legacy, release == "0.2.0", "{good}");

        fs::write(copy.path().join("deploy/x"), "y").unwrap();
        let bad = report(copy.path(), release);
        let found: Vec<_> =
            bad.findings.iter().map(|finding| (finding.code, finding.name.as_deref())).collect();
        assert_eq!(found, [(Code::FileChanged, Some("deploy/x"))], "{release}: {bad}");
        fs::write(copy.path().join("deploy/x"), "x").unwrap();
    }
}
