# Signs or verifies a folder with release 0.2.0, which has a Python interface only. The job is one argument, in JSON;
# the closing lines are those of the later command line.
import json
import pathlib
import sys

from model_signing import model
from model_signing.hashing import file, memory
from model_signing.serialization import serialize_by_file
from model_signing.signature import key, pki
from model_signing.signing import in_toto, in_toto_signature

job = json.loads(sys.argv[1])
folder = pathlib.Path(job["model"])
signature = pathlib.Path(job["signature"])
ignored = [signature, *map(pathlib.Path, job["ignore_paths"])]
if job["ignore_git_paths"]:
    ignored += [folder / name for name in (".git", ".gitattributes", ".github", ".gitignore")]
serializer = serialize_by_file.ManifestSerializer(
    lambda path: file.SimpleFileHasher(path, memory.SHA256()),
    allow_symlinks=job["allow_symlinks"],
)


def signer():
    if job["method"] == "key":
        return key.ECKeySigner.from_path(job["private_key"][0])
    return pki.PKISigner.from_path(
        job["private_key"][0], job["signing_certificate"][0], job["certificate_chain"]
    )


def verifier():
    if job["method"] == "key":
        return key.ECKeyVerifier.from_path(job["public_key"][0])
    return pki.PKIVerifier.from_paths(job["certificate_chain"])


word = "Signing" if job["verb"] == "sign" else "Verification"
try:
    if job["verb"] == "sign":
        model.sign(
            folder,
            in_toto_signature.IntotoSigner(signer()),
            in_toto.DigestsIntotoPayload.from_manifest,
            serializer,
            ignored,
        ).write(signature)
    else:
        model.verify(
            in_toto_signature.IntotoSignature.read(signature),
            in_toto_signature.IntotoVerifier(verifier()),
            folder,
            serializer,
            ignored,
        )
except Exception as error:
    print(f"{word} failed with error: {error!r}", file=sys.stderr)
    sys.exit(1)
print(f"{word} succeeded")
