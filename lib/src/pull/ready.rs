//! Making ready: what an earlier pull has left is looked at, and taken up or removed.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::fs::{AtFlags, Mode};

use super::{
    Pull,
    container::{has_journal, is_foreign},
    journal::{Journal, Phase},
    lock::{Lock, somebody_elses},
    place::{Place, Way, failed},
    placing,
    session::{above, container_name, listed, old_folder, open_local, remove_container},
    staging::Staging,
    tree,
};
use crate::{
    Error, Run,
    code::Code,
    fs::PRIVATE,
    shown::Shown,
    source::{Entry, local::PULL},
};

/// What [`prepare`] gives: the staging, the journal, what stands in the folder, and the journal of an earlier pull.
pub(super) type Prepared = (Staging, Journal, Vec<Entry>, Option<Journal>);

/// What a pull is ready for.
pub(super) enum Ready {
    /// To fetch.
    To(Box<Prepared>),
    /// The folder cannot be exchanged after all, but may be pulled into in place.
    NotByExchange,
    /// The model was exchanged already, by an earlier pull that did not come to its end.
    Placed,
}

/// What is there when making ready fails.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// It is somebody's, or can be of use for the next pull.
    pub(super) stays: bool,
    /// The folder of what is staged, once it is open.
    pub(super) container: Option<OwnedFd>,
}

/// Makes everything ready under the lock. When it fails, `left` says what is there.
pub(super) fn prepare(
    pull: &Pull,
    place: &Place,
    lock: &Lock,
    files: &[(String, u64)],
    key: &str,
    run: &Run,
    left: &mut Left,
) -> Result<Ready, Error> {
    let failed = |error| failed(&pull.dest, error);
    let container = match place.way {
        Way::Exchange => {
            tree::open_or_make(above(place)?, container_name(place, "").as_os_str(), tree::OURS_ALONE)
        }
        Way::InPlace => tree::open(lock.folder(), "."),
    };
    left.stays = true;
    let container = container.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied if stands_beside(place) => somebody_elses(&place.shown()),
        _ => failed(error),
    })?;
    let earlier = Journal::read(container.as_fd());
    if is_foreign(container.as_fd(), place.way == Way::Exchange).map_err(failed)? {
        let what = format!("{} is in the way, and nothing that a pull has left", Shown(&staged_at(place)));
        return Err(Error::new(Code::OutputExists, what).with_help("look what it is, and move it elsewhere"));
    }
    left.stays = earlier.is_some();
    left.container = Some(container.try_clone().map_err(failed)?);
    if let Some(old) = &place.old {
        let mount = tree::mount_below(old.folder.as_fd()).map_err(failed)?;
        if let Some(mount) = mount {
            let at = place.path.join(mount).display().to_string();
            let what = format!("{} is mounted in the folder {}", Shown(&at), Shown(&place.shown()));
            return Err(Error::new(Code::OutputExists, what).with_help(
                "unmount it, or pull into another folder: what is mounted there would be emptied",
            ));
        }
    }
    let trusted = is_ours_alone(place, container.as_fd(), &mut left.stays)?;
    let stands = place.old.as_ref().map(|old| old.stamp.inode);
    let exchanged = |earlier: &Journal| {
        earlier.model == key
            && earlier.phase == Phase::Placing
            && stands.is_some()
            && earlier.folder == stands
    };
    if place.way == Way::Exchange && trusted && earlier.as_ref().is_some_and(exchanged) {
        // It was killed when it was removing the old model: the new one stands there, and is only to be hashed again.
        remove_container(place, container.as_fd()).map_err(failed)?;
        return Ok(Ready::Placed);
    }
    if place.way == Way::Exchange
        && place.old.is_some()
        && !placing::can_exchange(container.as_fd()).map_err(failed)?
    {
        remove_container(place, container.as_fd()).map_err(failed)?;
        return Ok(Ready::NotByExchange);
    }
    let resumes = trusted && earlier.as_ref().is_some_and(|earlier| earlier.model == key);
    let mut journal = Journal::new(key);
    // One that cannot be read may say that files of several models stand there.
    let is_unknown = earlier.is_none() && has_journal(container.as_fd()).map_err(failed)?;
    let is_placing = earlier.as_ref().is_some_and(|earlier| earlier.phase == Phase::Placing);
    if place.way == Way::InPlace && (is_unknown || is_placing) {
        journal.phase = Phase::Placing;
    }
    // What there was to be taken up is told by the earlier journal, hence it is replaced after that.
    if !resumes {
        journal.write(container.as_fd()).map_err(failed)?;
    }
    let staging = Staging::begin(container, resumes, files.to_vec()).map_err(failed)?;
    if resumes {
        staging.write_journal(&journal).map_err(failed)?;
    }
    let before = match place.way {
        Way::Exchange => Vec::new(),
        Way::InPlace => {
            tree::sync(old_folder(place)?).map_err(failed)?;
            listed(&open_local(place)?, run)?
        }
    };
    Ok(Ready::To(Box::new((staging, journal, before, earlier))))
}

/// Whether there is something where a pull would stage beside the folder.
fn stands_beside(place: &Place) -> bool {
    let found = above(place).map(|above| tree::look(above, container_name(place, "").as_os_str()));
    place.way == Way::Exchange && matches!(found, Ok(Ok(Some(_))))
}

/// Where a pull stages, to be shown.
fn staged_at(place: &Place) -> String {
    let path = match place.way {
        Way::Exchange => place.path.with_file_name(container_name(place, "")),
        Way::InPlace => place.path.join(PULL),
    };
    path.display().to_string()
}

/// Whether the folder of what is staged can be trusted: nobody else could have written there.
///
/// # Errors
/// `permission-denied` where it is somebody else's, and stays.
fn is_ours_alone(place: &Place, container: BorrowedFd<'_>, stays: &mut bool) -> Result<bool, Error> {
    let failed = |error| failed(&place.path, error);
    // Compared with a file that is surely ours: some file systems give all files to one user.
    let probe = "probe";
    tree::write_new(container, probe, b"", PRIVATE).map_err(failed)?;
    let file = tree::look(container, probe).map_err(failed)?;
    rustix::fs::unlinkat(container, probe, AtFlags::empty()).map_err(|error| failed(error.into()))?;
    let folder = rustix::fs::fstat(container).map_err(|error| failed(error.into()))?;
    if file.is_none_or(|file| file.st_uid != folder.st_uid) {
        *stays = true;
        return Err(somebody_elses(&place.shown()));
    }
    if folder.st_mode & 0o022 == 0 {
        return Ok(true);
    }
    let _ = rustix::fs::fchmod(container, Mode::from_raw_mode(tree::OURS_ALONE));
    Ok(false)
}
