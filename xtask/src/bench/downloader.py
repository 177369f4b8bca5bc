"""Downloads every object below a prefix into a folder, all of them with one transfer manager of boto3."""

import os
import sys

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config

bucket, prefix, folder, *parts = sys.argv[1:]
settings = {}
if parts:
    settings = {"multipart_chunksize": int(parts[0]), "max_concurrency": int(parts[1])}
transfer = TransferConfig(**settings)
# As many connections as threads, which are ten of each unless told otherwise.
config = Config(max_pool_connections=transfer.max_concurrency, s3={"addressing_style": "path"})
client = boto3.client("s3", config=config)
keys = [
    entry["Key"]
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for entry in page.get("Contents", [])
]
os.makedirs(folder)
with create_transfer_manager(client, transfer) as manager:
    downloads = [manager.download(bucket, key, os.path.join(folder, key[len(prefix) :])) for key in keys]
    for download in downloads:
        download.result()
print(len(keys))
