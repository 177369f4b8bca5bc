//! What the command says about itself: version, completions, manual pages.

use std::path::Path;

use clap::CommandFactory as _;
use serde::Serialize;
use weightseal::{Code, Error, Kernel, PUBLIC, Replace, write_whole};

use crate::{
    args::{Cli, Format},
    render::Console,
};

const NAME: &str = "weightseal";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The library's features that this program is built with.
const FEATURES: &[&str] = &["sigstore", "sigstore-sign", "sigstore-tuf"];

/// The JSON of `--version --json`.
#[derive(Serialize)]
struct About {
    name: &'static str,
    version: &'static str,
    /// What is built in beyond keys and certificates.
    features: &'static [&'static str],
    /// The kernels of SHA-256 that this processor can run, as `--kernel` takes them.
    kernels: Vec<&'static str>,
    /// Extensions of this processor that the digests have code for.
    extensions: Vec<&'static str>,
    /// The commit it was built from, where the build knew it.
    commit: Option<&'static str>,
}

/// Prints the version.
///
/// # Errors
/// Those of output.
pub(crate) fn version(console: &Console, json: bool) -> Result<u8, Error> {
    if !json && console.format == Format::Text {
        console.print(&format!("{NAME} {VERSION}\n"))?;
        return Ok(0);
    }
    let commit = option_env!("WEIGHTSEAL_COMMIT").filter(|commit| !commit.is_empty());
    let kernels = Kernel::available().into_iter().map(Kernel::name).collect();
    let (version, extensions) = (VERSION, extensions());
    console.print_json(&About { name: NAME, version, features: FEATURES, kernels, extensions, commit })?;
    Ok(0)
}

/// The extensions of this processor that SHA-256, BLAKE2b and BLAKE3 have code for.
fn extensions() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let mut see = |name, has: bool| found.extend(has.then_some(name));
        see("sse4.1", is_x86_feature_detected!("sse4.1"));
        see("avx2", is_x86_feature_detected!("avx2"));
        see("avx512vl", is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl"));
        see("sha", is_x86_feature_detected!("sha"));
    }
    #[cfg(target_arch = "aarch64")]
    {
        let mut see = |name, has: bool| found.extend(has.then_some(name));
        see("neon", std::arch::is_aarch64_feature_detected!("neon"));
        see("sha2", std::arch::is_aarch64_feature_detected!("sha2"));
    }
    found
}

/// Prints a completion script.
///
/// # Errors
/// Those of output.
pub(crate) fn completions(console: &Console, shell: clap_complete::Shell) -> Result<u8, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    console.print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

/// Prints the page of the command itself, or writes one for each subcommand as well.
///
/// # Errors
/// Those of output.
pub(crate) fn man(console: &Console, dir: Option<&Path>) -> Result<u8, Error> {
    let mut command = Cli::command();
    command.build();
    let Some(dir) = dir else {
        console.print(&page(&command)?)?;
        return Ok(0);
    };
    let pages = command.get_subcommands().filter(|sub| sub.get_name() != "help");
    for command in std::iter::once(&command).chain(pages) {
        let name = command.get_display_name().unwrap_or(NAME).replace(' ', "-");
        write_whole(&dir.join(format!("{name}.1")), page(command)?.as_bytes(), Replace::Anything, PUBLIC)?;
    }
    Ok(0)
}

fn page(command: &clap::Command) -> Result<String, Error> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .source(format!("{NAME} {VERSION}"))
        .manual("Weightseal")
        .render(&mut page)
        .map_err(|error| Error::new(Code::IoFailed, "the manual page cannot be made").with_source(error))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
