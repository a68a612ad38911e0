"""A pack: chunks and their vectors as files, to be carried from where they were computed to where they serve.

    manifest.json          what it was made with, and its shards with their sha256
    00000-3.parquet        the first shard; 3: of how many named vectors

A shard is written under another name, flushed to the disk, renamed, and then listed in the manifest: what is
listed is whole. A shard that gains vectors is written anew beside the former one. Shards are plain Parquet:

    id                     string, a UUID
    source, path, ...      the payload, a column a key
    <dense vector>         list of fixed size, float32 or float16
    <multivector>          list of such lists, one a token
    <sparse vector>        struct of indices (list of uint32, sorted) and values (list of float32)

A vector that a point lacks is null.
"""
