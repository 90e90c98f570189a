"""Attempts: to take memory through /dev/shm, in large files and in many empty ones.
Seen from outside: both have an end.
Kind: resources
Expect: {"outcome": {"kind": "completed"}, "answer": "bytes: few, files: few"}
Except runsc: its file system counts bytes and not inodes
"""
import os


def main(query):
    size = 0
    try:
        with open("/dev/shm/large", "wb", buffering=0) as file:
            while size < 1 << 30:
                size += file.write(bytes(1 << 16))
    except OSError:
        pass
    os.unlink("/dev/shm/large")
    count = 0
    try:
        while count < 1_000_000:
            os.close(os.open(f"/dev/shm/{count}", os.O_CREAT | os.O_WRONLY))
            count += 1
    except OSError:
        pass
    return {"answer": f"bytes: {'few' if size <= 64 << 20 else size}, files: {'few' if count <= 10_000 else count}"}
