//! What the file system says of a model's files at one moment: nothing is read of them, so that it can be asked every minute.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
};

use crate::{
    Error, Model, Run,
    code::Code,
    shown::Shown,
    source::{FileStamp, Kind, Stamp},
};

/// The names of everything in a model, and the stamps of its files and links.
///
/// Equal stamps before and after a check, and later, say that nobody wrote to the files meanwhile; a file that somebody had
/// mapped for writing before the check shows his later writes too, since the check writes such pages out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps(BTreeMap<String, (Kind, Stamp)>);

/// What a later look at a model found first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// This came, went, was replaced or was written to.
    Content(String),
    /// Of this only the time of the last change tells: rights, owner, links; or content, with the other time set back.
    Unclear(String),
}

impl Model {
    /// The stamps of all that is in the model now; no file is opened.
    ///
    /// # Errors
    /// When the model cannot be listed as a whole: `permission-denied`, `io-failed`, `changed-while-read`, `pull-unfinished`;
    /// those of [`Run::check`].
    pub fn stamps(&self, run: &Run) -> Result<Stamps, Error> {
        let mut all = BTreeMap::new();
        self.source().list(run, &mut |entry| match entry.kind {
            Kind::Unreadable(why) => Err(Error::from(*why)),
            // A folder's own times tell what came into it and went out again.
            Kind::Folder => {
                let stamp = self.stamp_of_folder(&entry.name)?;
                all.insert(entry.name, (Kind::Folder, stamp));
                Ok(())
            }
            kind => {
                all.insert(entry.name, (kind, entry.stamp));
                Ok(())
            }
        })?;
        self.source().unmoved(run)?;
        if self.folder().is_some() {
            all.insert(".".to_owned(), (Kind::Folder, self.stamp_of_folder("")?));
        }
        for beside in self.bookkeeping(run)? {
            for (name, metadata) in &beside.items {
                all.insert(format!("../../{name}"), (Kind::Special("bookkeeping"), stamp(metadata)));
            }
        }
        Ok(Stamps(all))
    }

    /// The stamp of a folder in the model, or of its own; none of one in a store.
    fn stamp_of_folder(&self, name: &str) -> Result<Stamp, Error> {
        let Some(folder) = self.folder() else { return Ok(Stamp::default()) };
        let path = folder.join(name);
        match fs::symlink_metadata(&path) {
            Ok(metadata) => Ok(stamp(&metadata)),
            Err(error) => {
                let path = path.display().to_string();
                Err(Error::io("look at", Shown(&path).to_string(), error, Code::ChangedWhileRead))
            }
        }
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    let time = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    let file = FileStamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.len(),
        modified: time(metadata.mtime(), metadata.mtime_nsec()),
        changed: time(metadata.ctime(), metadata.ctime_nsec()),
    };
    Stamp { file, ..Stamp::default() }
}

impl Stamps {
    /// What is different later: first whatever speaks of content.
    pub fn written(&self, later: &Stamps) -> Option<Written> {
        let names = self.0.keys().chain(later.0.keys().filter(|name| !self.0.contains_key(*name)));
        let (mut folder, mut unclear) = (None, None);
        for name in names {
            match (self.0.get(name), later.0.get(name)) {
                (Some(one), Some(other)) if one == other => {}
                (Some(one), Some(other)) if same_content(one, other) => {
                    unclear.get_or_insert_with(|| Written::Unclear(name.clone()));
                }
                // What came, went or was replaced in it says more.
                (Some((Kind::Folder, _)), Some((Kind::Folder, _))) => {
                    folder.get_or_insert_with(|| Written::Content(name.clone()));
                }
                _ => return Some(Written::Content(name.clone())),
            }
        }
        folder.or(unclear)
    }

    /// How many files, folders and links there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether two looks differ in nothing but the time that no user can set.
fn same_content((kind, one): &(Kind, Stamp), (other_kind, other): &(Kind, Stamp)) -> bool {
    let still = |stamp: &Stamp| Stamp {
        file: FileStamp { changed: 0, ..stamp.file },
        link: stamp.link.map(|link| FileStamp { changed: 0, ..link }),
        tag: stamp.tag.clone(),
    };
    kind == other_kind && still(one) == still(other)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, time::SystemTime};

    use super::*;

    #[test]
    fn what_was_written_shows_and_what_was_only_touched_is_unclear() {
        let dir = testkit::temporary().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("deep")).unwrap();
        for name in ["a", "b", "deep/c"] {
            fs::write(path(name), name).unwrap();
        }
        let stamps = || Model::open(dir.path()).unwrap().stamps(&Run::new()).unwrap();
        let first = stamps();
        assert_eq!((first.len(), first.is_empty(), first.written(&stamps())), (5, false, None));
        // Wait out the tick of the file system's clock.
        std::thread::sleep(std::time::Duration::from_millis(25));
        fs::set_permissions(path("b"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(first.written(&stamps()), Some(Written::Unclear("b".into())));

        let modified = fs::metadata(path("deep/c")).unwrap().modified().unwrap();
        fs::write(path("deep/c"), "deep/d").unwrap();
        assert_eq!(first.written(&stamps()), Some(Written::Content("deep/c".into())));
        fs::File::options().write(true).open(path("deep/c")).unwrap().set_modified(modified).unwrap();
        assert_eq!(first.written(&stamps()), Some(Written::Unclear("b".into())));
        let second = stamps();
        fs::File::options()
            .write(true)
            .open(path("a"))
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        assert_eq!(second.written(&stamps()), Some(Written::Content("a".into())));

        // Put aside, replaced for a moment, and put back.
        let third = stamps();
        std::thread::sleep(std::time::Duration::from_millis(25));
        fs::rename(path("deep/c"), path("deep/aside")).unwrap();
        fs::rename(path("deep/aside"), path("deep/c")).unwrap();
        assert_eq!(third.written(&stamps()), Some(Written::Content("deep".into())));

        for change in [
            &(|| fs::write(path("new"), "").unwrap()) as &dyn Fn(),
            &|| fs::remove_file(path("new")).unwrap(),
            &|| fs::remove_file(path("deep/c")).unwrap(),
        ] {
            let before = stamps();
            change();
            assert!(matches!(before.written(&stamps()), Some(Written::Content(_))));
        }
    }
}
