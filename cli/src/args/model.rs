//! What sign, verify and digest have in common: which files count, how they are hashed, and what a run may use.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::{
    Args, ValueHint,
    builder::{PossibleValuesParser, TypedValueParser as _},
};
use tracing::warn;
use weightseal::{
    Access, Algorithm, Cancel, Error, Events, Hashing, Kernel, Model, ModelUri, ReadMode, Run, Shown,
};

use super::values;
use crate::signals;

pub(super) const CONTENT: &str = "Which files count";
pub(super) const HASH: &str = "Hashing";
pub(super) const LIMITS: &str = "Limits";

/// Which files count.
#[derive(Args, Clone, Debug)]
pub(crate) struct ModelArgs {
    /// Leave out this file, or folder with all below it; relative to the current folder, in a store a name in the model; may
    /// be given several times.
    /// Paths outside of the model change nothing. No patterns
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = CONTENT)]
    ignore_paths: Vec<PathBuf>,

    /// Leave out .git, .gitignore, .gitattributes and .github at the top of the model; so it is unless told otherwise
    #[arg(long, overrides_with_all = ["ignore_git_paths", "no_ignore_git_paths"], help_heading = CONTENT)]
    ignore_git_paths: bool,

    /// Count them like other files
    #[arg(long, overrides_with_all = ["no_ignore_git_paths", "ignore_git_paths"], help_heading = CONTENT)]
    no_ignore_git_paths: bool,

    /// Follow symbolic links that stay in the model; without it a link is an error
    #[arg(long, overrides_with = "allow_symlinks", help_heading = CONTENT)]
    allow_symlinks: bool,
}

/// Which files of which model count.
#[derive(Clone, Debug)]
pub(crate) struct ModelConfig {
    pub(crate) place: ModelUri,
    ignore: Vec<PathBuf>,
    git_paths: bool,
    pub(crate) symlinks: bool,
}

impl ModelArgs {
    pub(super) fn leaves_out(&self) -> bool {
        !self.ignore_paths.is_empty()
    }

    pub(super) fn follows_links(&self) -> bool {
        self.allow_symlinks
    }

    pub(crate) fn of(self, place: ModelUri) -> ModelConfig {
        ModelConfig {
            place,
            ignore: self.ignore_paths,
            git_paths: self.no_ignore_git_paths,
            symlinks: self.allow_symlinks,
        }
    }
}

impl ModelConfig {
    /// Opens the model, with what is to be left out of it.
    ///
    /// # Errors
    /// Those of [`Model::open_at`].
    pub(crate) fn open(&self, access: &Access, run: &Run) -> Result<Model, Error> {
        let mut model = Model::open_at(&self.place, access, run)?
            .include_git_paths(self.git_paths)
            .allow_symlinks(self.symlinks);
        for path in &self.ignore {
            // Of a model on disk users mean the folder they stand in, where the library means the model. Where there is no
            // current folder, the path stays relative and is not found.
            let place = match self.place {
                ModelUri::Path(_) => std::path::absolute(path).unwrap_or_else(|_| path.clone()),
                _ => path.clone(),
            };
            if !model.ignore_path(place) {
                let shown = path.display().to_string();
                warn!("{:?} is not inside of the model, so that ignoring it changes nothing", Shown(&shown));
            }
        }
        Ok(model)
    }
}

/// How a model is hashed when it is signed.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct HashArgs {
    /// The digest of each file or shard; model_signing's command line verifies sha256 only
    #[arg(long, value_name = "NAME", default_value = "sha256", ignore_case = true, help_heading = HASH,
          value_parser = PossibleValuesParser::new(["sha256", "blake2b", "blake3"])
              .try_map(|name| name.to_ascii_lowercase().parse::<Algorithm>()))]
    hash_algorithm: Algorithm,

    /// Sign in shards of this many bytes (65536, 64MiB, 1GB) instead of whole files, so that a difference is found to
    /// the shard; model_signing's command line cannot verify shards
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = HASH)]
    shard_size: Option<u64>,
}

impl HashArgs {
    pub(crate) fn check(self) -> Result<Hashing, Error> {
        match self.shard_size {
            Some(size) => Hashing::shards(self.hash_algorithm, size),
            None => Ok(Hashing::files(self.hash_algorithm)),
        }
    }
}

/// What a run may use.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct RunArgs {
    /// End when it has taken this long (500ms, 30s, 5m, 2h), with exit code 3
    #[arg(long, value_name = "DURATION", value_parser = values::duration, help_heading = LIMITS)]
    timeout: Option<Duration>,

    /// Threads that hash, 1 to 256 [default: what processor affinity and cgroup allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256), help_heading = LIMITS)]
    threads: Option<u16>,

    /// Bytes of the model that are mapped or buffered at once [default: 64MiB, of a store 128MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = LIMITS)]
    memory: Option<u64>,

    /// How files are read: mapped into memory, by pread, past the page cache (direct: what the device has, for audits),
    /// or the fastest of the first two
    #[arg(long, value_name = "HOW", value_parser = values::read_mode, default_value = "auto", help_heading = LIMITS)]
    read: ReadMode,

    /// Compute SHA-256 with this kernel; `weightseal --version --json` lists those of this processor [default: the fastest]
    #[arg(long, value_name = "KERNEL", env = "WEIGHTSEAL_KERNEL", hide_env_values = true, help_heading = LIMITS)]
    kernel: Option<Kernel>,
}

/// What a run may use.
pub(crate) type RunConfig = RunArgs;

impl RunConfig {
    /// A run that begins now.
    pub(crate) fn start(self, cancel: &Cancel, events: Arc<dyn Events>) -> Run {
        let mut run = Run::new().cancel(cancel.clone()).events(events).read(self.read);
        if let Some(after) = self.timeout {
            run = run.deadline(after);
            signals::end_after(after);
        }
        if let Some(threads) = self.threads {
            run = run.threads(usize::from(threads));
        }
        if let Some(bytes) = self.memory {
            run = run.memory(bytes);
        }
        if let Some(kernel) = self.kernel {
            run = run.kernel(kernel);
        }
        run
    }
}
