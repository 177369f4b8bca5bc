use std::fs;

use super::*;

#[test]
fn what_was_written_between_two_looks_is_named() {
    let dir = testkit::temporary().unwrap();
    let path = |name: &str| dir.path().join(name);
    for model in ["m/claim/a", "m/claim/b"] {
        fs::create_dir_all(path(model)).unwrap();
        for name in ["model.sig", "weights"] {
            fs::write(path(model).join(name), name).unwrap();
        }
    }
    let args: Vec<OsString> = ["x", "--public-key=/k", "--state=/s", "--models-under"]
        .map(OsString::from)
        .into_iter()
        .chain([path("m").into()])
        .collect();
    let config = Config::read(Task::Watch, &args, &[]).unwrap();
    let look = || Seen::look(&config, &Run::new()).unwrap();
    let first = look();
    assert_eq!((first.models.len(), first.written(&look())), (2, None));
    fs::write(path("m/claim/b/weights"), "other").unwrap();
    let Some(Written::Content(name)) = first.written(&look()) else { panic!("it was not noticed") };
    assert!(name.ends_with("/m/claim/b/weights"), "{name}");
    let second = look();
    fs::write(path("m/claim/stray"), "x").unwrap();
    assert_eq!(second.written(&look()), Some(Written::Content("claim/stray".to_owned())));
    fs::remove_file(path("m/claim/stray")).unwrap();
    fs::remove_dir_all(path("m/claim/a")).unwrap();
    assert_eq!(second.written(&look()), Some(Written::Content("claim/a".to_owned())));
    fs::remove_dir_all(path("m")).unwrap();
    assert!(Seen::look(&config, &Run::new()).is_err());
}
