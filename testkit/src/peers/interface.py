# Signs or verifies by the Python interface of 1.x, which knows digests and shards that its command line lacks. The
# job is one argument, in JSON; the closing lines are those of the command line.
import json
import pathlib
import sys

from model_signing import hashing, signing, verifying

job = json.loads(sys.argv[1])
folder = pathlib.Path(job["model"])
signature = pathlib.Path(job["signature"])
ignored = [signature, *map(pathlib.Path, job["ignore_paths"])]


def configured():
    config = hashing.Config()
    links = {"allow_symlinks": job["allow_symlinks"]}
    if job["shard_size"] is None:
        config.use_file_serialization(hashing_algorithm=job["algorithm"], **links)
    else:
        config.use_shard_serialization(
            hashing_algorithm=job["algorithm"], shard_size=job["shard_size"], **links
        )
    return config.set_ignored_paths(paths=ignored, ignore_git_paths=job["ignore_git_paths"])


def sign():
    config = signing.Config()
    if job["method"] == "key":
        config.use_elliptic_key_signer(private_key=job["private_key"][0])
    elif job["method"] == "sigstore":
        config.use_sigstore_signer(
            identity_token=job["identity_token"][0],
            trust_config=pathlib.Path(job["trust_config"][0]),
        )
    else:
        config.use_certificate_signer(
            private_key=job["private_key"][0],
            signing_certificate=job["signing_certificate"][0],
            certificate_chain=job["certificate_chain"],
        )
    config.set_hashing_config(configured()).sign(folder, signature)


def verify():
    config = verifying.Config()
    if job["method"] == "key":
        config.use_elliptic_key_verifier(public_key=job["public_key"][0])
    elif job["method"] == "sigstore":
        config.use_sigstore_verifier(
            identity=job["identity"][0],
            oidc_issuer=job["identity_provider"][0],
            trust_config=pathlib.Path(job["trust_config"][0]),
        )
    else:
        config.use_certificate_verifier(certificate_chain=job["certificate_chain"])
    config.set_ignore_unsigned_files(job["ignore_unsigned_files"])
    config.set_hashing_config(configured()).verify(folder, signature)


word = "Signing" if job["verb"] == "sign" else "Verification"
try:
    sign() if job["verb"] == "sign" else verify()
except Exception as error:
    print(f"{word} failed with error: {error!r}", file=sys.stderr)
    sys.exit(1)
print(f"{word} succeeded")
