"""Attempts: to change the ground that the next run stands on: the interpreter, the harness, the shims, bytecode, start files.
Seen from outside: nothing outside its own folders can be changed, and the next run is unharmed.
Kind: escape
Twice: yes
Expect: {"outcome": {"kind": "completed"}, "answer": "changed []"}
"""
import os
import sys
import sysconfig


def main(query):
    changed = []
    targets = ["/opt/agentfactory/harness.py", "/opt/agentfactory/shims/tools.py", sysconfig.get_path("stdlib") + "/json/__init__.py",
               sysconfig.get_path("purelib") + "/evil.pth", "/usr/lib/python3/dist-packages/sitecustomize.py",
               os.path.realpath(sys.executable), "/etc/ld.so.preload", "/etc/profile", "/bin/sh"]
    for path in targets:
        for attempt in (lambda: open(path, "ab").close(), lambda: os.rename(path, path + ".old"), lambda: os.unlink(path),
                        lambda: os.symlink("/tmp", path), lambda: os.utime(path), lambda: os.chmod(path, 0o777)):
            try:
                attempt()
                changed.append(path)
            except OSError:
                pass
    left = "/tmp/home/.local/lib/python%d.%d/site-packages" % sys.version_info[:2]
    if os.path.exists(left) or os.path.exists("/tmp/left") or os.path.exists("/dev/shm/left"):
        changed.append("the run before this left files")
    os.makedirs(left)
    for path in (left + "/usercustomize.py", left + "/evil.pth", "/tmp/left", "/dev/shm/left", "/tmp/home/.bashrc", "/tmp/json.py"):
        with open(path, "w") as file:
            file.write("import os; os._exit(3)\n")
    return {"answer": f"changed {changed}"}
