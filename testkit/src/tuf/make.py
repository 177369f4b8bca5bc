"""Makes a TUF repository with python-tuf and saves it at several points of its life.

Arguments: a folder, and a JSON list of steps. A step names what happens ("do") and goes on from the state so far:

  init      a repository of version 1 with new keys; "targets": {name: text}
  targets   other targets; targets, snapshot and timestamp are signed anew
  bump      a new timestamp
  rotate    new keys for the roles "roles"; the root is signed by the keys before as well
  expire    the role "role" is signed anew, "ago" seconds after its end
  save      writes the whole repository to the folder "to": metadata, targets/, and all roots
  load      goes back to the state that was saved as "from"
"""

import copy
import hashlib
import json
import os
import sys
from datetime import datetime, timedelta, timezone

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

ROLES = ["root", "timestamp", "snapshot", "targets"]


def soon(seconds):
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).replace(microsecond=0)


class Repository:
    def __init__(self, targets):
        end = soon(7 * 86400)
        self.keys = {role: [CryptoSigner.generate_ed25519()] for role in ROLES}
        self.keys["root"] += [CryptoSigner.generate_ecdsa(), CryptoSigner.generate_rsa()]
        self.roles = {
            "root": Root(version=1, expires=soon(200 * 86400), consistent_snapshot=True),
            "timestamp": Timestamp(version=1, expires=end),
            "snapshot": Snapshot(version=1, expires=end),
            "targets": Targets(version=1, expires=end),
        }
        for role in ROLES:
            for signer in self.keys[role]:
                self.roles["root"].add_key(signer.public_key, role)
        self.roles["root"].roles["root"].threshold = 2
        self.files = {}
        self.put(targets)
        self.roots = {}
        self.signed = {}
        self.sign("root", self.keys["root"])
        for role in ["targets", "snapshot", "timestamp"]:
            self.publish(role, False)

    def put(self, targets):
        self.roles["targets"].targets = {}
        for name, text in targets.items():
            data = text.encode()
            self.files[name] = data
            self.roles["targets"].targets[name] = TargetFile.from_data(name, data, ["sha256"])

    def sign(self, role, signers):
        metadata = Metadata(copy.deepcopy(self.roles[role]))
        for signer in signers:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes()
        self.signed[role] = data
        if role == "root":
            self.roots[self.roles["root"].version] = data

    def publish(self, role, new=True):
        """Signs a role anew, after telling it the version of the one below."""
        if new:
            self.roles[role].version += 1
        if role == "snapshot":
            self.roles[role].meta["targets.json"] = MetaFile(self.roles["targets"].version)
        if role == "timestamp":
            data = self.signed["snapshot"]
            digest = hashlib.sha256(data).hexdigest()
            self.roles[role].snapshot_meta = MetaFile(self.roles["snapshot"].version, len(data), {"sha256": digest})
        self.sign(role, self.keys[role])

    def upwards(self, role):
        order = ["targets", "snapshot", "timestamp"]
        for above in order[order.index(role):]:
            self.publish(above)

    def rotate(self, roles):
        before = list(self.keys["root"])
        for role in roles:
            for signer in self.keys[role]:
                self.roles["root"].revoke_key(signer.public_key.keyid, role)
            self.keys[role] = [CryptoSigner.generate_ed25519() for _ in self.keys[role]]
            for signer in self.keys[role]:
                self.roles["root"].add_key(signer.public_key, role)
        self.roles["root"].version += 1
        old = [signer for signer in before if signer not in self.keys["root"]]
        self.sign("root", self.keys["root"] + old)
        for role in ["targets", "snapshot", "timestamp"]:
            self.publish(role)

    def expire(self, role, ago):
        self.roles[role].expires = soon(-ago)
        if role == "root":
            self.roles["root"].version += 1
            self.sign("root", self.keys["root"])
        else:
            self.upwards(role)

    def save(self, to):
        os.makedirs(os.path.join(to, "targets"))
        versions = {role: self.roles[role].version for role in ROLES}
        named = {"timestamp.json": self.signed["timestamp"]}
        for role in ["snapshot", "targets"]:
            named[f"{versions[role]}.{role}.json"] = self.signed[role]
        for version, data in self.roots.items():
            named[f"{version}.root.json"] = data
        for name, target in self.roles["targets"].targets.items():
            named[f"targets/{target.hashes['sha256']}.{name}"] = self.files[name]
        for name, data in named.items():
            with open(os.path.join(to, name), "wb") as file:
                file.write(data)


def main():
    folder, steps = sys.argv[1], json.loads(sys.argv[2])
    state, saved = None, {}
    for step in steps:
        match step["do"]:
            case "init":
                state = Repository(step["targets"])
            case "targets":
                state.put(step["targets"])
                state.upwards("targets")
            case "bump":
                state.upwards("timestamp")
            case "rotate":
                state.rotate(step["roles"])
            case "expire":
                state.expire(step["role"], step["ago"])
            case "save":
                state.save(os.path.join(folder, step["to"]))
                saved[step["to"]] = copy.copy(state)
                saved[step["to"]].__dict__ = {
                    name: copy.deepcopy(value) if name in ("roles", "files", "roots", "signed") else copy.copy(value)
                    for name, value in state.__dict__.items()
                }
            case "load":
                held = saved[step["from"]]
                state = copy.copy(held)
                state.__dict__ = {
                    name: copy.deepcopy(value) if name in ("roles", "files", "roots", "signed") else copy.copy(value)
                    for name, value in held.__dict__.items()
                }
            case other:
                sys.exit(f"unknown step {other}")


main()
