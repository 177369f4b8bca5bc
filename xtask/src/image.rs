//! `cargo xtask image`: the init container as an image of one static program, held to what docs/image.md says of it.

mod assemble;
mod build;
mod crates;
mod promise;
mod revision;
mod roots;
mod sbom;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use testkit::image::{File, Image, PROGRAM, USER};
use testkit::target_dir;

use crate::Done;
use revision::Revision;
use roots::Roots;

pub(crate) const HELP: &str = "\
Build the image of the init container, and hold it to its promises

Usage: cargo xtask image [OPTIONS]

Options:
      --arch ARCH    amd64 or arm64 [default: that of this machine]
      --output FILE  where the OCI archive goes [default: target/image/ARCH/weightseal-init.tar]
      --source URL   where the source is published, for the image's label [default: no such label]
      --roots FILE   authorities that TLS trusts, in PEM, to lie in the image, or none [default: Mozilla's]

It compiles one static program, describes the crates in it (CycloneDX), and lets buildah put both into an image from
scratch: twice, since both have to have the same digest. Then it runs what is in the image. It ends with exit code 1
as soon as anything is not as docs/image.md says, and prints the digest that manifests name.

The time in the image is that of the commit, or SOURCE_DATE_EPOCH, in seconds since 1970. It needs buildah; for the
other processor its target (rustup), its C compiler and, to run what was built, qemu-user-static.
";

/// The most that the files in the image may have, in bytes.
const LIMIT: u64 = 25_000_000;

/// Where the list of the crates lies in the image: Syft and Trivy look for files of such a name.
const SBOM: &str = "weightseal-init.cdx.json";

/// A processor that images are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    const HERE: Arch = if cfg!(target_arch = "aarch64") { Arch::Arm64 } else { Arch::Amd64 };

    /// As OCI calls it.
    fn name(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }

    /// As Linux calls it.
    fn processor(self) -> &'static str {
        match self {
            Arch::Amd64 => "x86_64",
            Arch::Arm64 => "aarch64",
        }
    }

    /// As Rust calls it.
    fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.processor())
    }

    /// The C compiler for it, which also links.
    fn compiler(self) -> String {
        if self == Arch::HERE { "cc".to_owned() } else { format!("{}-linux-gnu-gcc", self.processor()) }
    }
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    arch: Arch,
    output: Option<PathBuf>,
    source: Option<String>,
    roots: Roots,
}

impl Options {
    pub(crate) fn parse(args: &[OsString]) -> Result<Options, String> {
        let mut options = Options { arch: Arch::HERE, output: None, source: None, roots: Roots::Mozilla };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let flag = flag.to_string_lossy();
            let value = args.next().ok_or_else(|| format!("{flag} is unknown, or lacks its value"))?;
            let text = value.to_string_lossy();
            match (flag.as_ref(), text.as_ref()) {
                ("--arch", "amd64") => options.arch = Arch::Amd64,
                ("--arch", "arm64") => options.arch = Arch::Arm64,
                ("--arch", _) => return Err(format!("images are for amd64 or arm64, not for {text}")),
                ("--output", _) => options.output = Some(value.into()),
                ("--source", _) => options.source = Some(text.into_owned()),
                ("--roots", _) => options.roots = Roots::parse(value),
                _ => return Err(format!("there is no option {flag}")),
            }
        }
        Ok(options)
    }
}

/// Builds the image and checks it.
pub(crate) fn run(options: &Options) -> Done {
    let start = Instant::now();
    let arch = options.arch;
    let place = target_dir().join("image").join(arch.name());
    fs::create_dir_all(&place)?;
    let revision = Revision::read()?;
    crates::check()?;
    let crates = crates::Tree::of_image(arch)?;

    let program = build::build(arch)?;
    let content = fs::read(&program)?;
    build::names_no_place(&content)?;
    build::is_static(&program)?;
    let built = start.elapsed();

    let sbom = sbom::write(&crates, arch, &revision, &content)?;
    let mut files = BTreeMap::from([(PROGRAM, (0o755, content)), (SBOM, (0o444, sbom.into_bytes()))]);
    if let Some(pem) = options.roots.pem()? {
        files.insert(roots::PLACE, (0o444, pem));
    }
    let image = expected(arch, options.source.as_deref(), &revision, files);
    let archive = options.output.clone().unwrap_or_else(|| place.join(format!("{PROGRAM}.tar")));
    let digest = assemble::assemble(&image, &place, &archive)?;

    let size = promise::size(&image, &archive)?;
    let ran = promise::runs(&image, arch)?;
    println!(
        "{} crates are in the program, as init-container/crates.txt says\n\
         {ran}\n\
         {size}\n\
         made from {}, in {:.0} s and {:.0} s for the program\n\n\
         {}\n{digest}",
        crates.registry(),
        revision.shown(),
        start.elapsed().saturating_sub(built).as_secs_f64(),
        built.as_secs_f64(),
        archive.display(),
    );
    Ok(())
}

/// The image that these files have to become.
fn expected(
    arch: Arch,
    source: Option<&str>,
    revision: &Revision,
    files: BTreeMap<&str, (u32, Vec<u8>)>,
) -> Image {
    let label = |name: &str, value: &str| (format!("org.opencontainers.image.{name}"), value.to_owned());
    let mut labels = BTreeMap::from([
        label("title", PROGRAM),
        label("description", "Keeps a pod from starting when its model does not verify"),
        label("version", env!("CARGO_PKG_VERSION")),
        label("licenses", sbom::LICENCES),
    ]);
    labels.extend(revision.commit().map(|commit| label("revision", commit)));
    labels.extend(source.map(|source| label("source", source)));
    let file = |(path, (mode, content)): (&str, (u32, Vec<u8>))| {
        (path.to_owned(), File { mode, owner: (0, 0), modified: revision.seconds(), content })
    };
    Image {
        architecture: arch.name().to_owned(),
        created: revision.time(),
        user: USER.to_owned(),
        entrypoint: vec![format!("/{PROGRAM}")],
        settings: BTreeMap::new(),
        labels,
        files: files.into_iter().map(file).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, String> {
        Options::parse(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read() {
        let options =
            parse(&["--arch", "arm64", "--output", "a.tar", "--roots", "none"]).expect("they are right");
        assert_eq!(options.roots, Roots::None);
        assert_eq!((options.arch, options.output), (Arch::Arm64, Some(PathBuf::from("a.tar"))));
        assert_eq!(parse(&[]).expect("none is needed").arch, Arch::HERE);
    }

    #[test]
    fn wrong_options_are_refused() {
        for wrong in [&["--arch", "mips"][..], &["--arch"], &["--shell", "sh"], &["a.tar"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
