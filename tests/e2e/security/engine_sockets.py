"""Attempts: to find a socket of the engine or of any service of the host, by path and by abstract name.
Seen from outside: there is none.
Kind: escape
Expect: {"outcome": {"kind": "completed"}, "answer": "found []"}
"""
import os
import socket
import stat


def main(query):
    found = []
    for folder, folders, files in os.walk("/"):
        if folder in ("/proc", "/sys"):
            folders.clear()
            continue
        for name in files:
            path = os.path.join(folder, name)
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                found.append(path)
    abstract = [line.split()[-1] for line in open("/proc/net/unix") if "@" in line] if os.path.exists("/proc/net/unix") else []
    for name in ("@/containerd-shim/x.sock", "@/tmp/.X11-unix/X0", "@/org/freedesktop/systemd1/notify", *abstract):
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect("\0" + name[1:])
                found.append(name)
            except OSError:
                pass
    return {"answer": f"found {found}"}
