# Writes P-256 keys and certificates into a folder: a root, an authority under it, a leaf under that, another root.
import datetime
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

folder = pathlib.Path(sys.argv[1])
now = datetime.datetime.now(datetime.timezone.utc)
pem = serialization.Encoding.PEM


def key(name):
    made = ec.generate_private_key(ec.SECP256R1())
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / f"{name}.key").write_bytes(made.private_bytes(pem, pkcs8, plain))
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / f"{name}.pub").write_bytes(made.public_key().public_bytes(pem, spki))
    return made


def certificate(name, own, issuer, issuer_key, authority):
    named = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
    usage = dict.fromkeys(
        ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only", "crl_sign"], False
    )
    usage |= {"digital_signature": not authority, "key_cert_sign": authority}
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), True)
        .add_extension(x509.KeyUsage(**usage), True)
    )
    if not authority:
        signing = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING])
        builder = builder.add_extension(signing, False)
    made = builder.sign(issuer_key, hashes.SHA256())
    (folder / f"{name}.crt").write_bytes(made.public_bytes(pem))


root, middle, leaf, other = map(key, ["root", "middle", "leaf", "other"])
certificate("root", root, "root", root, True)
certificate("middle", middle, "root", root, True)
certificate("leaf", leaf, "middle", middle, False)
certificate("other", other, "other", other, True)
