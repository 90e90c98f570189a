"""Uses: subprocess pipelines, shells, signals and exit statuses of children, pseudo-terminals, process groups.
Expect: {"answer": "sorted ['a', 'b', 'c'], 3 lines, status 7, signal -15, shell 6, terminal True, group True"}
"""
import os
import pty
import signal
import subprocess
import sys


def main(query):
    first = subprocess.Popen(["printf", "c\\nb\\na\\n"], stdout=subprocess.PIPE)
    second = subprocess.Popen(["sort"], stdin=first.stdout, stdout=subprocess.PIPE, text=True)
    first.stdout.close()
    ordered = second.communicate()[0].split()
    first.wait()
    lines = subprocess.run("printf 'x\\ny\\nz\\n' | tee /tmp/copy | wc -l", shell=True, capture_output=True, text=True).stdout.strip()
    status = subprocess.run([sys.executable, "-c", "import sys; sys.exit(7)"]).returncode
    sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
    group = os.getpgid(sleeper.pid) == sleeper.pid
    os.killpg(sleeper.pid, signal.SIGTERM)
    ended = sleeper.wait(10)
    shell = subprocess.check_output(["bash", "-c", "total=0; for i in 1 2 3; do total=$((total + i)); done; echo $total"], text=True).strip()
    child, terminal = pty.fork()
    if child == 0:
        os.execlp("sh", "sh", "-c", "test -t 0 && echo yes")
    seen = b""
    # Not to its end: gVisor's older versions do not tell that the other side is closed.
    while b"\n" not in seen:
        seen += os.read(terminal, 100)
    os.waitpid(child, 0)
    return {"answer": f"sorted {ordered}, {lines} lines, status {status}, signal {ended}, shell {shell}, terminal {b'yes' in seen}, group {group}"}
