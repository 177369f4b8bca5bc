//! Builds servers from the Go module proxy, once for all checkouts of a user.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::dirs::{target_dir, temporary, workspace};
use crate::run::{Ended, LIMIT, capture_within};
use crate::skip::Missing;

/// Servers that are built together and kept in one folder.
pub(crate) struct Programs {
    /// What they are called where they are lacking, like `the servers of Sigstore`.
    pub(crate) title: &'static str,
    /// How the name of their folder begins.
    pub(crate) folder: &'static str,
    /// What is built as it comes: the name here, and the package with its version.
    pub(crate) packages: &'static [(&'static str, &'static str)],
    /// What is built in modules of our own.
    pub(crate) own: &'static [Own],
    /// What is not built.
    pub(crate) ready: &'static [Ready],
}

/// A program that is built in a module of our own over other people's modules.
pub(crate) struct Own {
    pub(crate) name: &'static str,
    /// File names and contents, from which the version is told: source, `go.mod`, `go.sum`.
    pub(crate) files: [(&'static str, &'static str); 3],
    /// What is built of the module and those it needs: [`ITSELF`], or the package of another.
    pub(crate) package: &'static str,
    /// What the linker is told besides.
    pub(crate) linker: &'static str,
}

/// The package of a module of our own.
pub(crate) const ITSELF: &str = ".";

/// A program that others have built.
pub(crate) struct Ready {
    pub(crate) name: &'static str,
    /// Which one, to the byte.
    pub(crate) version: &'static str,
    /// Puts the program, and nothing else, into a folder.
    pub(crate) get: fn(&Path) -> io::Result<()>,
}

/// How long one program may take: minutes on two idle cores, more where everybody builds at once.
const BUILD: Duration = Duration::from_secs(1800);

impl Programs {
    /// The folder with the programs, which are built unless they are there.
    ///
    /// They are kept in `FOLDER-VERSIONS/bin` in the folder that `WEIGHTSEAL_SERVICES` names, else in
    /// `weightseal-testkit` in the user's cache, else under the target folder. The first build takes minutes; several
    /// tests and processes may ask at the same time: one builds, the others wait.
    ///
    /// # Errors
    /// There is no Go that is new enough, or the modules cannot be had.
    pub(crate) fn built(&self) -> Result<PathBuf, Missing> {
        let name = format!("{}-{}", self.folder, self.versions());
        let places = places(|name| env::var_os(name));
        let homes: Vec<PathBuf> = places.into_iter().map(|place| place.join(&name)).collect();
        // A folder that cannot be written to may still hold them.
        if let Some(built) = homes.iter().map(|home| home.join("bin")).find(|bin| bin.is_dir()) {
            return Ok(built);
        }
        writable(&homes)
            .and_then(|(home, _lock)| self.all(home))
            .map_err(|error| Missing::new(self.title, error.to_string()))
    }

    /// A name for just these versions.
    pub(crate) fn versions(&self) -> String {
        let mut hash = Sha256::new();
        let own = self.own.iter().flat_map(|own| own.files.iter().map(|file| (own.name, file.1)));
        let elsewhere = self.own.iter().filter(|own| own.package != ITSELF);
        let elsewhere = elsewhere.flat_map(|own| [(own.name, own.package), (own.name, own.linker)]);
        let ready = self.ready.iter().map(|ready| (ready.name, ready.version));
        for (name, version) in self.packages.iter().copied().chain(own).chain(elsewhere).chain(ready) {
            hash.update(format!("{name}\n{}\n{version}\n", version.len()));
        }
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Builds what is lacking in a folder beside, which gets its name when it is complete.
    fn all(&self, home: &Path) -> io::Result<PathBuf> {
        let (bin, beside) = (home.join("bin"), home.join("unfinished"));
        if bin.is_dir() {
            return Ok(bin);
        }
        let version = capture_within(Command::new("go").arg("version"), &[], LIMIT)
            .map_err(|error| io::Error::other(format!("they are built with Go 1.26 or newer: {error}")))?;
        fs::create_dir_all(&beside)?;
        // Standard error may be closed, which is no reason not to build.
        let mut say = |text: String| drop(writeln!(io::stderr(), "{text}"));
        say(format!("building {} into {} with {}", self.title, home.display(), version.out().trim()));
        for (name, package) in self.packages {
            one(&beside, name, &mut say, |part| go(part, workspace(), &["install"], "", package))?;
        }
        for own in self.own {
            one(&beside, own.name, &mut say, |part| {
                // Not in the checkout, which may be read-only, and whose files may have changed since.
                let sources = temporary()?;
                for (file, content) in own.files {
                    fs::write(sources.path().join(file), content)?;
                }
                go(part, sources.path(), &["install", "-mod=readonly"], own.linker, own.package)
            })?;
        }
        for ready in self.ready {
            one(&beside, ready.name, &mut say, ready.get)?;
        }
        fs::rename(&beside, &bin)?;
        Ok(bin)
    }

    /// Every program has a version, so that a build is the same tomorrow.
    ///
    /// # Panics
    /// One has none.
    #[cfg(test)]
    pub(crate) fn assert_pinned(&self) {
        for (name, package) in self.packages {
            assert!(package.contains("@v"), "{name} is built from {package}");
        }
        for own in self.own {
            let [_, (_, module), (_, sums)] = own.files;
            assert!(module.contains("require") && sums.contains("h1:"), "{} has no versions", own.name);
        }
        for ready in self.ready {
            assert!(ready.version.contains("=="), "{} is {}", ready.name, ready.version);
        }
        assert_eq!((self.versions().len(), self.versions()), (16, self.versions()));
    }
}

/// The first that can be written to, and its lock.
fn writable(homes: &[PathBuf]) -> io::Result<(&Path, File)> {
    let mut last = io::Error::other("there is no folder to build them in");
    for home in homes {
        match locked(home) {
            Ok(lock) => return Ok((home, lock)),
            Err(error) => last = io::Error::other(format!("{} cannot be written: {error}", home.display())),
        }
    }
    Err(last)
}

/// Where they may be kept by these environment variables, the best place first.
fn places(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let named = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(place) = named("WEIGHTSEAL_SERVICES") {
        return vec![place];
    }
    let cache = named("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let cache = cache.or_else(|| named("HOME").map(|home| home.join(".cache")));
    let target = target_dir().join("services");
    cache.map(|cache| cache.join("weightseal-testkit")).into_iter().chain([target]).collect()
}

fn locked(home: &Path) -> io::Result<File> {
    fs::create_dir_all(home)?;
    let lock = File::create(home.join("lock"))?;
    lock.lock()?;
    Ok(lock)
}

/// Builds one program in a folder of its own, so that what bears its name is always whole.
fn one(
    beside: &Path,
    name: &str,
    say: &mut impl FnMut(String),
    build: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let finished = beside.join(name);
    if finished.is_file() {
        return Ok(());
    }
    let start = Instant::now();
    let part = beside.join(format!("{name}.part"));
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    fs::create_dir(&part)?;
    build(&part)?;
    let mut made = fs::read_dir(&part)?;
    let program = made.next().ok_or_else(|| io::Error::other(format!("go made no {name}")))??;
    fs::rename(program.path(), &finished)?;
    fs::remove_dir(&part)?;
    say(format!("  {name} ({:.0} s)", start.elapsed().as_secs_f64()));
    Ok(())
}

fn go(bin: &Path, sources: &Path, args: &[&str], linker: &str, package: &str) -> io::Result<()> {
    let mut go = Command::new("go");
    go.args(args).arg(format!("-ldflags=-s -w {linker}")).arg(package).current_dir(sources);
    // The user's own settings would change what is built; no compiler for C is needed this way.
    go.env("GOBIN", bin).env("GOFLAGS", "-trimpath").env("GOWORK", "off").env("GO111MODULE", "on");
    go.env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0").env_remove("GOOS").env_remove("GOARCH");
    let ended = capture_within(&mut go, &[], BUILD)?;
    if ended.code() == Some(0) { Ok(()) } else { Err(io::Error::other(last_words(&ended))) }
}

fn last_words(ended: &Ended) -> String {
    let err = ended.err();
    let last = err.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no output");
    format!("`{}` ended with {}: {}", ended.command, ended.status, last.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_kept_where_the_variables_say() {
        let of = |set: &[(&str, &str)]| {
            places(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        };
        let target = target_dir().join("services");
        assert_eq!(of(&[]), std::slice::from_ref(&target));
        let home = ("HOME", "/home/a");
        assert_eq!(of(&[home]), [PathBuf::from("/home/a/.cache/weightseal-testkit"), target.clone()]);
        // The specification of the variable has a relative path ignored.
        assert_eq!(of(&[home, ("XDG_CACHE_HOME", "b")]), of(&[home]));
        let cache = ("XDG_CACHE_HOME", "/cache");
        assert_eq!(of(&[home, cache]), [PathBuf::from("/cache/weightseal-testkit"), target]);
        assert_eq!(of(&[home, cache, ("WEIGHTSEAL_SERVICES", "/own")]), [PathBuf::from("/own")]);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_left_for_the_next_or_named() {
        let dir = temporary().expect("temporary folder");
        fs::write(dir.path().join("file"), "").expect("written");
        let homes = [dir.path().join("file/below"), dir.path().join("folder")];
        let (home, lock) = writable(&homes).expect("one can be");
        assert_eq!(home, homes[1]);
        drop(lock);
        let error = writable(&homes[..1]).expect_err("it cannot be").to_string();
        assert!(error.contains("file/below cannot be written"), "{error}");
    }

    #[test]
    fn a_program_that_is_half_built_does_not_get_its_name() {
        let home = temporary().expect("temporary folder");
        let failed = one(home.path(), "it", &mut |_| (), |part| {
            fs::write(part.join("it"), "half")?;
            Err(io::Error::other("no network"))
        });
        assert_eq!(failed.expect_err("it failed").to_string(), "no network");
        assert!(!home.path().join("it").exists());
        one(home.path(), "it", &mut |_| (), |part| fs::write(part.join("named otherwise"), "whole"))
            .expect("built");
        assert_eq!(fs::read_to_string(home.path().join("it")).expect("it is there"), "whole");
    }
}
