//! A folder with everything that an invocation may need, and how one is run in it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use testkit::{
    Ended, TempDir, capture_within,
    models::Weights,
    pki::{FROM, Key, KeyKind, Shape},
};

/// How long an invocation may take on a machine that is busy with other things.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The passphrase of `encrypted.key`.
pub(crate) const PASSPHRASE: &str = "correct horse";

/// A temporary folder that is the current one of every invocation.
pub(crate) struct World(TempDir);

impl World {
    /// | file | what |
    /// |---|---|
    /// | `m/` | a model: `model.safetensors` (four tensors of 4 KiB) and `config.json` |
    /// | `one.gguf` | a model of one file |
    /// | `release.key`, `.pub` | P-256 |
    /// | `other.key`, `.pub` | another P-256 key |
    /// | `ed.key`, `.pub` | Ed25519 |
    /// | `encrypted.key`, `passphrase` | the release key, encrypted; and what opens it |
    /// | `leaf.key`, `leaf.pem`, `ca.pem`, `root.pem` | a certificate, its intermediate and its root |
    /// | `other-root.pem` | a root that issued none of them |
    pub(crate) fn new() -> Self {
        let world = World(testkit::temporary().unwrap());
        let weights = Weights { shards: 1, shard_bytes: 16 << 10, tensor_bytes: 4 << 10, seed: 1 };
        weights.write(&world.path("m")).unwrap();
        world.write("m/config.json", "{\"model_type\": \"llama\"}\n");
        world.write("one.gguf", "GGUF and no more");
        for (name, kind, seed) in
            [("release", KeyKind::P256, 1), ("other", KeyKind::P256, 2), ("ed", KeyKind::Ed25519, 1)]
        {
            let key = Key::new(kind, seed);
            world.write(&format!("{name}.key"), key.pkcs8_pem());
            world.write(&format!("{name}.pub"), key.public_pem());
        }
        world.write("encrypted.key", Key::new(KeyKind::P256, 1).encrypted_pkcs8_pem(PASSPHRASE));
        world.write("passphrase", format!("{PASSPHRASE}\n"));
        let case = Shape::Plain.case(KeyKind::P384);
        world.write("leaf.key", case.key().pkcs8_pem());
        world.write("leaf.pem", case.leaf_pem());
        world.write("ca.pem", case.intermediates_pem());
        world.write("root.pem", case.anchors_pem());
        let other =
            testkit::pki::Pki::root(KeyKind::P256).seed(7).subject("CN=Other Root").valid(FROM, FROM + 1);
        world.write("other-root.pem", other.self_signed().pem());
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The program, with nothing of this process's environment that could change what it says.
    pub(crate) fn command(&self, program: &str) -> Command {
        let binaries = Path::new(env!("CARGO_BIN_EXE_weightseal")).parent().unwrap();
        let path = env::join_paths(
            [binaries.to_owned()]
                .into_iter()
                .chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
        );
        let mut command = Command::new(program);
        command.current_dir(self.dir()).env_clear().env("PATH", path.unwrap()).env("HOME", self.dir());
        command
    }

    /// Runs weightseal with these arguments.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        let mut command = self.command(env!("CARGO_BIN_EXE_weightseal"));
        capture_within(command.args(args), &[], LIMIT).unwrap()
    }

    /// Runs a line of shell, in which `weightseal` is the program.
    pub(crate) fn shell(&self, line: &str) -> Ended {
        capture_within(self.command("sh").arg("-c").arg(line), &[], LIMIT).unwrap()
    }

    /// Signs `m` with the release key.
    pub(crate) fn sign(&self) {
        self.run(&["sign", "m", "--private-key", "release.key", "-q"]).expect_code(0);
    }

    /// Every file and folder, for a comparison.
    pub(crate) fn listing(&self) -> Vec<String> {
        fn walk(dir: &Path, root: &Path, out: &mut Vec<String>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                out.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
                if path.is_dir() {
                    walk(&path, root, out);
                }
            }
        }
        let mut out = Vec::new();
        walk(self.dir(), self.dir(), &mut out);
        out.sort();
        out
    }
}
