"""Uses: zip, tar, gzip, bzip2, lzma, zlib, base64, hashes, pickles, struct, in files and in memory.
Expect: {"answer": "zip ['a.txt', 'b/c.txt'] zipped, tar 3 members packed, round trips 4, sha256 ba7816bf, crc 352441c2, blake 16, struct 16909060"}
"""
import base64
import bz2
import gzip
import hashlib
import io
import lzma
import os
import pickle
import struct
import tarfile
import zipfile
import zlib


def main(query):
    with zipfile.ZipFile("out.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "zipped")
        archive.writestr("b/c.txt", "x" * 100_000)
    with zipfile.ZipFile("out.zip") as archive:
        names, text = archive.namelist(), archive.read("a.txt").decode()
        assert archive.testzip() is None
        archive.extractall("unzipped")
    os.makedirs("tree/inner")
    for path in ("tree/one", "tree/inner/two"):
        with open(path, "w") as file:
            file.write("packed")
    os.chmod("tree/one", 0o750)
    with tarfile.open("out.tar.xz", "w:xz") as archive:
        archive.add("tree/one")
        archive.add("tree/inner")
    with tarfile.open("out.tar.xz") as archive:
        members = archive.getmembers()
        archive.extractall("untarred", filter="data")
    with open("untarred/tree/inner/two") as file:
        packed = file.read()
    data = os.urandom(1000) * 50
    trips = sum(module.decompress(module.compress(data)) == data for module in (gzip, bz2, lzma, zlib))
    assert base64.b85decode(base64.b85encode(data)) == data
    assert pickle.load(io.BytesIO(pickle.dumps({"data": data, "set": {1, 2}})))["set"] == {1, 2}
    crc = f"{zlib.crc32(b'abc'):08x}"
    return {"answer": f"zip {names} {text}, tar {len(members)} members {packed}, round trips {trips}, sha256 {hashlib.sha256(b'abc').hexdigest()[:8]}, "
            f"crc {crc}, blake {len(hashlib.blake2b(b'abc', digest_size=16).digest())}, struct {struct.unpack('>I', bytes([1, 2, 3, 4]))[0]}"}
