//! Digests and shards, which the peer has in its Python interface alone.

use weightseal::Code::{FileChanged, ShardedAlgorithmLegacy};
use weightseal::{Algorithm, Hashing};

use super::{Case, Python};

/// Signs the model in a way of hashing that the arguments say.
const SIGN: &str = "
from model_signing import hashing, signing
config = hashing.Config()
use = {'files': config.use_file_serialization, 'shards': config.use_shard_serialization}
use[args[0]](hashing_algorithm=args[1], **({'shard_size': int(args[2])} if args[2:] else {}))
signer = signing.Config().use_elliptic_key_signer(private_key='signer.key')
signer.set_hashing_config(config).sign('model', 'model.sig')
print('Signing succeeded')
";

/// Verifies in the way of hashing that the arguments say; where there are none, in the one it reads from the bundle.
const VERIFY: &str = "
import sys
from model_signing import hashing, verifying
verifier = verifying.Config().use_elliptic_key_verifier(public_key='signer.pub')
if args:
    config = hashing.Config()
    use = {'files': config.use_file_serialization, 'shards': config.use_shard_serialization}
    use[args[0]](hashing_algorithm=args[1], **({'shard_size': int(args[2])} if args[2:] else {}))
    verifier.set_hashing_config(config)
try:
    verifier.verify('model', 'model.sig')
except Exception as error:
    print(f'Verification failed with error: {error!r}', file=sys.stderr)
    sys.exit(1)
print('Verification succeeded')
";

#[test]
fn each_digest_over_files_goes_both_ways() {
    let Some(python) = Python::latest() else { return };
    // More than is read at once by either, and no round number.
    let large: Vec<u8> =
        (0..(9 << 20) + 7_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    // The peer says `blake2` for what is `blake2b` in the bundle, hence cannot take that from the bundle.
    for (algorithm, word, guessed) in [
        (Algorithm::Sha256, "sha256", true),
        (Algorithm::Blake2b, "blake2", false),
        (Algorithm::Blake3, "blake3", true),
    ] {
        for ours in [true, false] {
            let case = Case::new();
            case.write("model/large.bin", &large);
            if ours {
                case.sign_ours(&case.open(), &Hashing::files(algorithm));
            } else {
                python.run(SIGN, case.dir(), &["files", word]).expect_accepted();
            }
            assert_eq!(case.statement()["predicate"]["serialization"]["hash_type"], algorithm.name());
            assert_eq!(case.found(), [], "{word}");
            python.run(VERIFY, case.dir(), &["files", word]).expect_accepted();
            let answer = python.run::<&str>(VERIFY, case.dir(), &[]);
            assert_eq!(answer.accepted(), guessed, "{}", answer.ended);

            case.write("model/config.json", "{}");
            assert_eq!(case.found(), [FileChanged], "{word}");
            python.run(VERIFY, case.dir(), &["files", word]).expect_refused();
        }
    }
}

/// Its shards carry an algorithm `sha256-sharded-N`, which the schema forbids, and a size that is no whole number in JSON. It
/// demands the same of ours, so that no shards go from one to the other.
#[test]
fn shards_of_the_peer_are_refused_by_name_and_ours_by_the_peer() {
    for version in ["0.3.1", "1.0.0", "1.0.1", "1.1.0", "1.1.1"] {
        let Some(python) = Python::release(version) else { continue };
        for (algorithm, word) in [(Algorithm::Sha256, "sha256"), (Algorithm::Blake2b, "blake2")] {
            let case = Case::new();
            let way = ["shards", word, "30000"];
            python.run(SIGN, case.dir(), &way).expect_accepted();
            python.run(VERIFY, case.dir(), &way).expect_accepted();
            let resource = &case.statement()["predicate"]["resources"][0];
            assert_eq!(resource["algorithm"], format!("{}-sharded-30000", algorithm.name()));
            assert_eq!(case.found(), [ShardedAlgorithmLegacy], "{version} {word}");

            case.sign_ours(&case.open(), &Hashing::shards(algorithm, 30_000).expect("a size"));
            assert_eq!(case.found(), []);
            python.run(VERIFY, case.dir(), &way).expect_refused();
            python.run::<&str>(VERIFY, case.dir(), &[]).expect_refused();
        }
    }
}

/// Under `blake3` its shards are files, and verify.
#[test]
fn blake3_shards_of_the_peer_are_files() {
    let Some(python) = Python::latest() else { return };
    let case = Case::new();
    python.run(SIGN, case.dir(), &["shards", "blake3", "30000"]).expect_accepted();
    let serialization = &case.statement()["predicate"]["serialization"];
    assert_eq!((&serialization["method"], &serialization["hash_type"]), (&"files".into(), &"blake3".into()));
    assert_eq!(case.found(), []);
    case.write("model/deploy/x", "y");
    assert_eq!(case.found(), [FileChanged]);

    // Ours are shards.
    case.sign_ours(&case.open(), &Hashing::shards(Algorithm::Blake3, 30_000).expect("a size"));
    assert_eq!(case.found(), []);
    python.run(VERIFY, case.dir(), &["shards", "blake3", "30000"]).expect_refused();
    python.run::<&str>(VERIFY, case.dir(), &[]).expect_refused();
}
