"""Attempts: to find the host's secrets in environments, memory and files.
Seen from outside: there are none.
Kind: theft
Expect: {"outcome": {"kind": "completed"}, "answer": "found []"}
"""
import os

MARK = "agentfactory-test-" + "secret"


def main(query):
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        for file in ("environ", "cmdline", "mem", "maps"):
            path = f"/proc/{process}/{file}"
            try:
                content = open(path, "rb").read(1 << 20)
            except OSError:
                continue
            if MARK.encode() in content:
                found.append(path)
            if process == "1" and file == "mem":
                found.append("opened the memory of PID 1")
    for folder in ("/run/secrets", "/var/run/docker.sock", "/root", "/proc/1/root/root"):
        try:
            found.extend(os.path.join(folder, name) for name in os.listdir(folder))
        except OSError:
            pass
    keys = [key for key in os.environ if "KEY" in key or "TOKEN" in key or "SECRET" in key]
    return {"answer": f"found {found + keys}", "summary": ""}
