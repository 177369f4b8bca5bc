//! The grammar: what may be typed, and the checked configuration that travels on from it.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};

use weightseal::ModelUri;

use crate::log::Level;

mod method;
mod model;
mod policy;
mod pull;
mod sign;
mod sigstore;
mod stores;
mod trust;
mod values;
mod verify;

pub(crate) use method::{Method, Words};
pub(crate) use model::{HashArgs, ModelArgs, ModelConfig, RunArgs, RunConfig};
pub(crate) use policy::{ExplainArgs, PolicyCommand};
pub(crate) use pull::PullArgs;
pub(crate) use sign::{Instance, KeyFile, SignArgs, SignConfig, Signing, SigstoreConfig};
pub(crate) use stores::{Reach, StoreArgs};
pub(crate) use trust::{TrustCommand, TrustCommandArgs};
pub(crate) use values::{default_signature, on_disk};
pub(crate) use verify::{Demands, Roots, Trust, VerifyArgs, VerifyConfig};

/// Signs machine-learning model weights, and verifies them before anything loads them.
///
/// Signatures are those of OpenSSF Model Signing (OMS) 1.0; command lines of model_signing work unchanged for keys,
/// certificates and Sigstore identities. Nothing is trusted but what is given, and no configuration file is ever searched for.
#[derive(Debug, Parser)]
#[command(
    name = "weightseal",
    bin_name = "weightseal",
    max_term_width = 110,
    after_help = EXIT_CODES,
    override_usage = "weightseal [OPTIONS] <COMMAND>\n       weightseal --version [--json]"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,

    /// Print the version
    #[arg(short = 'V', long)]
    pub(crate) version: bool,

    /// With --version: as JSON, with features, processor extensions and commit
    #[arg(long, requires = "version")]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

pub(crate) const EXIT_CODES: &str = "Exit codes:\n  \
    0  done; for verify: verified (or admitted by --mode warn)\n  \
    1  rejected: the signature, the signer, the policy or the content\n  \
    2  misuse: the call cannot be right\n  \
    3  could not tell, hence not verified: no permission, I/O, time ran out, changed meanwhile\n  \
    130, 143  ended by SIGINT, SIGTERM";

/// What every subcommand takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// How results and errors are printed on standard output
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, help_heading = OUTPUT)]
    pub(crate) format: Format,

    /// Whether the verdict is coloured (NO_COLOR and CLICOLOR_FORCE count for auto)
    #[arg(long, global = true, value_enum, default_value_t = When::Auto, value_name = "WHEN", help_heading = OUTPUT)]
    pub(crate) color: When,

    /// Annotations and a step summary for GitHub Actions; auto: where GITHUB_ACTIONS=true
    #[arg(long, global = true, value_enum, default_value_t = Switch::Auto, value_name = "WHEN", help_heading = OUTPUT)]
    pub(crate) github: Switch,

    /// No progress, notes or warnings on standard error
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = OUTPUT)]
    pub(crate) quiet: bool,

    /// Tell findings as they come, and timings; twice for more
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = OUTPUT)]
    pub(crate) verbose: u8,

    /// What is logged on standard error: trace, debug, info, warning, error or critical, in any case [env:
    /// WEIGHTSEAL_LOG, or else MODEL_SIGNING_LOG_LEVEL] [default: info]
    #[arg(long, global = true, value_name = "LEVEL", value_parser = Level::parse, help_heading = OUTPUT)]
    pub(crate) log_level: Option<Level>,
}

pub(crate) const OUTPUT: &str = "Output";

/// The format of standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One line of JSON
    Json,
}

/// When to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Whether to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Where it makes sense
    Auto,
    /// Yes
    On,
    /// No
    Off,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sign a model
    #[command(
        override_usage = "weightseal sign [OPTIONS] [METHOD] <MODEL>",
        after_help = sign::EXAMPLES
    )]
    Sign(Box<SignArgs>),
    /// Verify a model against its signature
    #[command(
        override_usage = "weightseal verify [OPTIONS] [METHOD] <MODEL>",
        after_help = verify::EXAMPLES
    )]
    Verify(Box<VerifyArgs>),
    /// Download a model and verify it in one pass: nothing unverified ever stands at its place
    #[command(
        override_usage = "weightseal pull [OPTIONS] [METHOD] <MODEL> <DEST>",
        after_help = pull::EXAMPLES
    )]
    Pull(Box<PullArgs>),
    /// Print the root digest of a model, which names exactly this release of it
    Digest(DigestArgs),
    /// List what a model server would load of a model, and what is wrong with that; verifies nothing
    Loadset(LoadsetArgs),
    /// Show what a signature claims, verifying nothing
    Inspect(InspectArgs),
    /// Make a key pair: NAME.key (readable by its owner only) and NAME.pub
    Keygen(KeygenArgs),
    /// Show, refresh or import the trusted root that Sigstore signatures are verified with
    Trust(TrustCommandArgs),
    /// Check and explain policies: files that say who may sign which model
    #[command(after_help = policy::EXAMPLES, arg_required_else_help = false)]
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them to a folder
    Man {
        /// A folder that exists; pages of the same names are replaced
        #[arg(value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct DigestArgs {
    /// The model: a folder, a single file, s3://bucket/prefix or hf://org/name@revision
    #[arg(value_hint = ValueHint::AnyPath, value_parser = values::PlaceParser)]
    pub(crate) model: ModelUri,

    /// The digest of each file, or shard, as well
    #[arg(long)]
    pub(crate) files: bool,

    /// A signature to leave out besides MODEL/model.sig; may be given several times
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = values::PlaceParser)]
    pub(crate) signature: Vec<ModelUri>,

    #[command(flatten)]
    pub(crate) hash: HashArgs,

    #[command(flatten)]
    pub(crate) content: ModelArgs,

    #[command(flatten)]
    pub(crate) run: RunArgs,

    #[command(flatten)]
    pub(crate) stores: StoreArgs,
}

#[derive(Args, Debug)]
pub(crate) struct LoadsetArgs {
    /// The model: a folder, a single file, s3://bucket/prefix or hf://org/name@revision
    #[arg(value_hint = ValueHint::AnyPath, value_parser = values::PlaceParser)]
    pub(crate) model: ModelUri,

    /// The signature that says which of the files are signed, if it is not MODEL/model.sig; it is not verified
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = values::PlaceParser)]
    pub(crate) signature: Option<ModelUri>,

    /// Follow symbolic links that stay in the model
    #[arg(long)]
    pub(crate) allow_symlinks: bool,

    #[command(flatten)]
    pub(crate) run: RunArgs,

    #[command(flatten)]
    pub(crate) stores: StoreArgs,
}

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// A signature, or a model that has one at its usual place
    #[arg(value_hint = ValueHint::AnyPath, value_parser = values::PlaceParser)]
    pub(crate) place: ModelUri,

    #[command(flatten)]
    pub(crate) stores: StoreArgs,

    /// Every resource instead of the first 20 (JSON always has all)
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Args, Debug)]
pub(crate) struct KeygenArgs {
    /// The files to write, without their endings
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) name: PathBuf,

    /// The type of the key; model_signing knows the three curves, but not ed25519
    #[arg(long = "type", value_name = "TYPE", default_value = "ed25519", ignore_case = true,
          value_parser = ["ed25519", "p256", "p384", "p521"])]
    pub(crate) kind: String,

    /// Encrypt the private key with a passphrase: WEIGHTSEAL_PASSPHRASE, or else asked for on the terminal
    #[arg(long)]
    pub(crate) encrypt: bool,

    /// Encrypt the private key with the passphrase in this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// The arguments with every flag spelt with hyphens: release 1.1.1 of the reference writes `--private_key`, later ones
/// `--private-key`, and both are to work everywhere.
pub(crate) fn normalised(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut flags = true;
    args.map(|arg| {
        flags &= arg != "--";
        match arg.to_str() {
            Some(text) if flags && text.starts_with("--") => {
                let (flag, value) = text.split_at(text.find('=').unwrap_or(text.len()));
                format!("{}{value}", flag.replace('_', "-")).into()
            }
            _ => arg,
        }
    })
    .collect()
}

/// The format that was asked for, where the arguments as a whole could not be parsed.
pub(crate) fn wanted_format(args: &[OsString]) -> Format {
    let json = args.windows(2).any(|pair| pair == ["--format", "json"])
        || args.iter().any(|arg| arg == "--format=json");
    if json { Format::Json } else { Format::Text }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_spelt_with_hyphens_and_values_left_alone() {
        let given = ["--private_key=a_b", "my_model", "--no-ignore_unsigned_files", "-q", "--", "--a_b"];
        let wanted = ["--private-key=a_b", "my_model", "--no-ignore-unsigned-files", "-q", "--", "--a_b"];
        assert_eq!(normalised(given.iter().map(OsString::from)), wanted);
    }
}
