"""Uses: pathlib, tempfile, shutil, glob, mmap, file locks, permissions, links, stat, filecmp, fileinput, sparse files, inotify-free watching.
Expect: {"answer": "tree 12, copied True, moved True, globbed 4, mapped b'HELLO', locked True, mode 640, link target, temporary True, usage True, walked 4", "left_behind": [{"path": "work/link"}]}
"""
import fcntl
import filecmp
import mmap
import os
import pathlib
import shutil
import stat
import tempfile


def main(query):
    work = pathlib.Path("work")
    for folder in range(4):
        for file in range(3):
            path = work / f"folder {folder}" / f"datei-ü-{file}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{folder} {file}\n", encoding="utf-8")
    count = sum(1 for path in work.rglob("*.txt"))
    shutil.copytree(work, "copy")
    same = filecmp.dircmp(work, "copy")
    copied = not (same.left_only or same.right_only or same.diff_files)
    shutil.move("copy", "moved")
    moved = not os.path.exists("copy") and os.path.isdir("moved")
    globbed = len(list(work.glob("*/datei-ü-1.txt")))
    with open("mapped", "w+b") as file:
        file.truncate(1 << 20)
        with mmap.mmap(file.fileno(), 0) as area:
            area[:5] = b"HELLO"
            area.flush()
        file.seek(0)
        mapped = file.read(5)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 100)
        with open("mapped", "rb") as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = False
            except BlockingIOError:
                locked = True
    os.chmod("mapped", 0o640)
    mode = f"{stat.S_IMODE(os.stat('mapped').st_mode):o}"
    (work / "target").write_text("target")
    os.symlink("target", work / "link")
    link = (work / "link").read_text()
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"x")
        file.flush()
        temporary = os.path.getsize(file.name) == 1 and folder.startswith("/tmp/")
    usage = shutil.disk_usage(".").total > 0
    walked = sum(1 for _, folders, _ in os.walk("moved") for _ in folders)
    shutil.rmtree("moved")
    os.remove("mapped")
    return {"answer": f"tree {count}, copied {copied}, moved {moved}, globbed {globbed}, mapped {mapped}, locked {locked}, mode {mode}, link {link}, "
            f"temporary {temporary}, usage {usage}, walked {walked}"}
