//! `pull`: what verify takes, and where the model goes.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use weightseal::{Code, Error, Mode, Pull};

use super::VerifyArgs;

pub(super) const EXAMPLES: &str = "Examples:\n  \
    weightseal pull s3://models/llama /models/llama --public-key release.pub\n  \
    weightseal pull hf://acme/llama@v1.2 /models/llama --policy policy.yaml\n  \
    weightseal pull hf://acme/llama /models/llama --repair --identity release@acme.example --identity-provider \
    https://accounts.example.com";

const PULL: &str = "Where it goes";

#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    #[command(flatten)]
    verify: VerifyArgs,

    /// The folder that becomes the model: one that is not there, is empty, or holds a signed model; or a mount point
    #[arg(value_name = "DEST", value_hint = ValueHint::DirPath)]
    third: Option<PathBuf>,

    /// Fetch only what is damaged in DEST, each file anew, and leave the rest as it is
    #[arg(long, help_heading = PULL)]
    repair: bool,

    /// Replace DEST even if it holds no signed model
    #[arg(long, help_heading = PULL, conflicts_with = "repair")]
    force: bool,

    /// Wait for another pull into DEST; without it that is an error
    #[arg(long, help_heading = PULL)]
    wait: bool,

    /// Put the files into DEST one by one, behind a journal, as it is done where DEST is a mount point
    #[arg(long, help_heading = PULL)]
    in_place: bool,
}

impl PullArgs {
    /// What to verify, and where it goes.
    ///
    /// # Errors
    /// `bad-argument`, and `arguments-conflict` for what would let an unverified model pass.
    pub(crate) fn split(self) -> Result<(VerifyArgs, Pull), Error> {
        let (verify, dest) = self.verify.with_dest(self.third)?;
        let refused = [
            (verify.reads_nothing(), "--stated", "a pull reads every byte"),
            (verify.mode() == Mode::Warn, "--mode warn", "what is not verified is not put anywhere"),
        ];
        if let Some((_, flag, why)) = refused.into_iter().find(|(given, ..)| *given) {
            return Err(Error::new(Code::ArgumentsConflict, format!("{flag} does not go with pull: {why}"))
                .with_help(format!("leave out {flag}")));
        }
        let pull =
            Pull::new(dest).repair(self.repair).force(self.force).wait(self.wait).in_place(self.in_place);
        Ok((verify, pull))
    }
}
