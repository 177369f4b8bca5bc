"""Uploads a folder, or downloads a snapshot, as the JSON in the only argument says, and prints what came of it."""

import json
import sys

import huggingface_hub

job = json.loads(sys.argv[1])
api = huggingface_hub.HfApi(endpoint=job["endpoint"], token=job["token"] or False)
where = {"repo_id": job["id"], "repo_type": job["kind"]}
if job["verb"] == "upload":
    api.create_repo(**where, exist_ok=True)
    print(api.upload_folder(folder_path=job["path"], **where).oid)
elif job["verb"] == "download":
    print(api.snapshot_download(**where, revision=job["revision"], local_dir=job["path"]))
elif job["verb"] == "cache":
    print(api.snapshot_download(**where, revision=job["revision"], cache_dir=job["path"]))
else:
    for entry in api.list_repo_tree(**where, revision=job["revision"], recursive=True, expand=False):
        if isinstance(entry, huggingface_hub.RepoFile):
            lfs = entry.lfs.sha256 if entry.lfs else None
            print(json.dumps({"path": entry.path, "size": entry.size, "oid": entry.blob_id, "sha256": lfs}))
