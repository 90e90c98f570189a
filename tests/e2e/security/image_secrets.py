"""Attempts: to find secrets that were baked into the image: keys, tokens, histories, logs, caches of package managers.
Seen from outside: the image has none.
Kind: theft
Expect: {"outcome": {"kind": "completed"}, "answer": "found []"}
"""
import os
import re

# Written in pieces, so that this file does not find itself.
PRIVATE = re.compile(rb"-----BEGIN (?:RSA |EC |OPENSSH )?PRIVATE " + rb"KEY-----\n[A-Za-z0-9+/=]{40}")
TOKEN = re.compile(rb"(?:sk-ant-|sk-proj-|ghp_|AKIA)[A-Za-z0-9_-]{16}")


def main(query):
    found = []
    for folder, folders, files in os.walk("/"):
        if folder in ("/proc", "/sys", "/dev", "/code", "/tmp", "/usr/share/doc", "/usr/lib/python3.13/test"):
            folders.clear()
            continue
        for name in files:
            path = os.path.join(folder, name)
            if name in (".bash_history", ".netrc", ".pypirc", ".dockercfg", "id_rsa", "id_ed25519", "shadow", "shadow-", "credentials") and os.access(path, os.R_OK):
                found.append(path)
            if os.path.islink(path) or os.path.getsize(path) > 1 << 20 or not path.startswith(("/etc", "/opt", "/root", "/home", "/var", "/srv", "/usr/local")):
                continue
            try:
                with open(path, "rb") as file:
                    content = file.read()
            except OSError:
                continue
            if PRIVATE.search(content) or TOKEN.search(content) or b"agentfactory-test-" + b"secret" in content:
                found.append(path)
    return {"answer": f"found {found}"}
