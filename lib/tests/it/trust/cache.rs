//! What others may do to the cache: nothing.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::Path,
};

use weightseal::{Code, Error, Run};

use super::{Case, named};

/// What the store says of its cache now, whichever way it is asked.
#[track_caller]
fn refused(case: &Case, code: Code) -> Error {
    let run = Run::new();
    assert_eq!(case.store().signing_config(&run).unwrap_err().code(), code);
    assert_eq!(case.store().state(&run).unwrap_err().code(), code);
    assert_eq!(case.store().refresh(&run).unwrap_err().code(), code);
    let error = case.store().load(&run).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_changed_byte_is_refused_wherever_it_is() {
    let Some(case) = Case::refreshed("v3") else { return };
    let good = fs::read(case.file()).unwrap();
    for place in (0..good.len()).step_by(211).chain([0, good.len() - 1]) {
        let mut changed = good.clone();
        changed[place] ^= 1;
        fs::write(case.file(), changed).unwrap();
        assert_eq!(
            case.store().load(&Run::new()).unwrap_err().code(),
            Code::TrustCacheInvalid,
            "byte {place}"
        );
    }
    fs::write(case.file(), &good[..good.len() / 2]).unwrap();
    refused(&case, Code::TrustCacheInvalid);
    fs::write(case.file(), good).unwrap();
    case.store().load(&Run::new()).unwrap();
}

/// Writes the cache anew with a change in its JSON and a digest that fits: what somebody does who knows the format.
fn forge(case: &Case, change: impl FnOnce(&mut serde_json::Value)) {
    use sha2::Digest as _;
    let text = fs::read_to_string(case.file()).unwrap();
    let (_, body) = text.split_once('\n').unwrap();
    let mut body: serde_json::Value = serde_json::from_str(body).unwrap();
    change(&mut body);
    let body = format!("{body}\n");
    let digest = sha2::Sha256::digest(body.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(case.file(), format!("weightseal-trust-cache 1 sha256:{hex}\n{body}")).unwrap();
}

#[test]
fn a_forged_cache_does_not_verify() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let Some(case) = Case::refreshed("v3") else { return };
    let good = fs::read(case.file()).unwrap();
    forge(&case, |_| ());
    case.store().load(&Run::new()).unwrap();
    let names: Vec<String> = {
        let text = fs::read_to_string(case.file()).unwrap();
        let body: serde_json::Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
        body["files"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(
        names,
        [
            "root_history/2.root.json",
            "snapshot.json",
            "targets.json",
            "targets/signing_config.v0.2.json",
            "targets/trusted_root.json",
            "timestamp.json"
        ]
    );
    for name in &names {
        forge(&case, |body| {
            let text = STANDARD.decode(body["files"][name].as_str().unwrap()).unwrap();
            // A digit or letter of what is signed, and no space, which would change nothing.
            let mut text = text;
            let place = text.iter().rposition(u8::is_ascii_alphanumeric).unwrap();
            text[place] ^= 1;
            body["files"][name] = STANDARD.encode(text).into();
        });
        refused(&case, Code::TrustCacheInvalid);
        fs::write(case.file(), &good).unwrap();
        forge(&case, |body| drop(body["files"].as_object_mut().unwrap().remove(name)));
        refused(&case, Code::TrustCacheInvalid);
        fs::write(case.file(), &good).unwrap();
    }
    for versions in ["root", "timestamp", "snapshot", "targets"] {
        forge(&case, |body| body["versions"][versions] = 9.into());
        refused(&case, Code::TrustCacheInvalid);
        fs::write(case.file(), &good).unwrap();
    }
    forge(&case, |body| body["more"] = 1.into());
    refused(&case, Code::TrustCacheInvalid);
}

#[test]
fn a_cache_of_another_repository_does_not_verify() {
    let Some(case) = Case::refreshed("v1") else { return };
    let mut other = Case::at("foreign").unwrap();
    other.root = fs::read(case.story.join("foreign/1.root.json")).unwrap();
    other.store().refresh(&Run::new()).unwrap();
    fs::copy(other.file(), case.file()).unwrap();
    refused(&case, Code::TrustCacheInvalid);
}

#[test]
fn an_older_cache_that_is_put_back_is_refused() {
    let Some(case) = Case::refreshed("v1") else { return };
    let older = fs::read(case.file()).unwrap();
    case.serve("v2");
    case.store().refresh(&Run::new()).unwrap();
    assert_eq!(named(&case.store().load(&Run::new()).unwrap()), "two");
    fs::write(case.file(), &older).unwrap();
    let error = refused(&case, Code::TrustCacheInvalid);
    assert!(error.to_string().contains("older"), "{error}");
    // After the keys were changed as well.
    fs::remove_dir_all(case.folder()).unwrap();
    case.serve("v3");
    case.store().refresh(&Run::new()).unwrap();
    fs::write(case.file(), &older).unwrap();
    refused(&case, Code::TrustCacheInvalid);
}

#[test]
fn the_age_in_the_cache_cannot_outlive_the_signed_timestamp() {
    let Some(case) = Case::refreshed("v1") else { return };
    forge(&case, |body| body["refreshed"] = 4_000_000_000_u64.into());
    let state = case.store().state(&Run::new()).unwrap();
    assert_eq!(state.origin.as_of, state.expires.map(|expires| expires.timestamp));
}

#[test]
fn a_cache_that_others_can_write_is_refused() {
    let Some(case) = Case::refreshed("v1") else { return };
    for (path, bad, good) in [
        (case.folder(), 0o777, 0o755),
        (case.folder(), 0o775, 0o755),
        (case.folder(), 0o1777, 0o755),
        (case.file(), 0o666, 0o644),
        (case.file(), 0o664, 0o644),
        (case.folder().join("trust-versions"), 0o646, 0o644),
    ] {
        mode(&path, bad);
        let error = refused(&case, Code::TrustCacheUnsafe);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        mode(&path, good);
        case.store().load(&Run::new()).unwrap();
    }
}

#[test]
fn a_cache_that_others_can_take_away_is_refused_there_or_not() {
    let Some(case) = Case::refreshed("v1") else { return };
    let folder = case.folder();
    let base = folder.parent().unwrap().to_owned();
    let good = fs::metadata(&base).unwrap().permissions().mode() & 0o7777;
    case.store().load(&Run::new()).unwrap();
    for bad in [0o777, 0o775, 0o757] {
        mode(&base, bad);
        let error = refused(&case, Code::TrustCacheUnsafe);
        assert!(error.to_string().contains(base.to_str().unwrap()), "{error}");
        // Somebody did.
        let aside = base.join("aside");
        fs::rename(&folder, &aside).unwrap();
        assert_eq!(case.store().load(&Run::new()).unwrap_err().code(), Code::TrustCacheUnsafe);
        fs::rename(&aside, &folder).unwrap();
        mode(&base, good);
        case.store().load(&Run::new()).unwrap();
    }
    // As /tmp is: nobody renames there what is not his.
    if fs::metadata(&base).unwrap().uid() == 0 {
        mode(&base, 0o1777);
        case.store().load(&Run::new()).unwrap();
        mode(&base, good);
    }
}

#[test]
fn a_cache_of_somebody_else_is_refused() {
    let Some(case) = Case::refreshed("v1") else { return };
    for path in [case.folder(), case.file()] {
        if chown(&path, Some(12_345), None).is_err() {
            // Only root can give a file away; the check is the same for the rest of us.
            return;
        }
        refused(&case, Code::TrustCacheUnsafe);
        chown(&path, Some(0), None).unwrap();
        case.store().load(&Run::new()).unwrap();
    }
}

#[test]
fn a_cache_behind_a_link_is_refused() {
    let Some(case) = Case::refreshed("v1") else { return };
    for path in [case.file(), case.folder()] {
        let aside = case.dir.path().with_extension("aside");
        fs::rename(&path, &aside).unwrap();
        symlink(&aside, &path).unwrap();
        let error = case.store().load(&Run::new()).unwrap_err();
        assert_eq!(error.code(), Code::TrustCacheUnsafe, "{error}");
        assert_eq!(case.store().refresh(&Run::new()).unwrap_err().code(), Code::TrustCacheUnsafe);
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
        case.store().load(&Run::new()).unwrap();
    }
}

#[test]
fn a_folder_or_pipe_for_a_file_is_refused() {
    let Some(case) = Case::refreshed("v1") else { return };
    fs::remove_file(case.file()).unwrap();
    fs::create_dir(case.file()).unwrap();
    assert_eq!(case.store().load(&Run::new()).unwrap_err().code(), Code::TrustCacheUnsafe);
    fs::remove_dir(case.file()).unwrap();
    let made = std::process::Command::new("mkfifo").arg(case.file()).status().unwrap();
    assert!(made.success());
    assert_eq!(case.store().load(&Run::new()).unwrap_err().code(), Code::TrustCacheUnsafe);
}

#[test]
fn a_cache_from_before_the_keys_that_are_given_is_passed_over() {
    let Some(mut case) = Case::refreshed("v2") else { return };
    case.serve("v3");
    // A newer root is given, by whose keys the cached timestamp does not count.
    case.root = fs::read(case.story.join("v3/2.root.json")).unwrap();
    assert_eq!(case.store().load(&Run::new()).unwrap_err().code(), Code::TrustRootAbsent);
    assert_eq!(case.store().refresh(&Run::new()).unwrap().versions.unwrap().root, 2);
    assert_eq!(named(&case.store().load(&Run::new()).unwrap()), "two");
    // From the older root nothing leads to it: the root between them was not needed, and is not in the cache.
    case.root = fs::read(case.story.join("v1/1.root.json")).unwrap();
    let error = case.store().load(&Run::new()).unwrap_err();
    assert_eq!(error.code(), Code::TrustCacheInvalid, "{error}");
}
