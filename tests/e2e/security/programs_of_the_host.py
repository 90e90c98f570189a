"""Attempts: to leave what programs of the host obey: hooks of git, settings of shells and editors, environment files.
Seen from outside: they are listed as what they are, files of a tree; none is written where a program looks.
Kind: workspace
Expect: {"outcome": {"kind": "completed"}, "answer": "left"}
"""
import os


def main(query):
    for path in (".git/hooks/pre-commit", ".git/config", ".env", ".envrc", ".bashrc", ".vscode/tasks.json", ".ssh/authorized_keys", "Makefile",
                 "sitecustomize.py", ".gitattributes", "sub/.git/hooks/post-checkout", ".GIT/config", ".git\u200c/config"):
        if os.path.dirname(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write("#!/bin/sh\ntouch /tmp/owned\n")
        os.chmod(path, 0o755)
    return {"answer": "left"}
