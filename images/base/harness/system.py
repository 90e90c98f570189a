"""What the sandbox is: its folders, its environment, and what its kernel is asked."""

import ctypes
import os
import resource
import signal
import time

WORKSPACE = b"/workspace"
CODE = b"/code"
HOME = "/tmp/home"
SHIMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shims")
# The distributions of an environment; a folder that only images of environments have.
PACKAGES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "env")
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": HOME,
    # Each sandbox has a user number of its own, which has no entry in the image's list of users.
    "USER": "sandbox",
    "LOGNAME": "sandbox",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "TMPDIR": "/tmp",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}
PROXY_PORT = 3128
PROXY = f"http://127.0.0.1:{PROXY_PORT}"
CERTIFICATES = "/tmp/.agentfactory/ca.pem"
# What programs read where there is a proxy: curl, git, pip, requests, Node, the AWS tools, OpenSSL.
PROXY_ENVIRONMENT = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), PROXY),
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), PROXY),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1,::1"),
    **dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), CERTIFICATES),
    **dict.fromkeys(("PIP_CERT", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"), CERTIFICATES),
    "AWS_CA_BUNDLE": CERTIFICATES,
}
PR_SET_DUMPABLE = 4
# What PID 1 has no use for. Ignoring SIGCHLD would hide how the child ended.
WANTED = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ}
UNWANTED = sorted(signal.valid_signals() - WANTED)
# Kept, because what runs in the child may replace the module's own.
EXIT, SLEEP = os._exit, time.sleep
LIBC = ctypes.CDLL(None, use_errno=True)
GVISOR = "#1 SMP Sun Jan 10 15:06:54 PST 2016"  # What its kernel says of itself.
IS_GVISOR = os.uname().version == GVISOR
TOUCHED_MAX = 1 << 26  # A larger mapping is a reservation.


def write_all(fd, *parts):
    """Writes every byte; a pipe takes them in pieces."""
    views = [memoryview(part) for part in parts if len(part)]
    while views:
        written = os.writev(fd, views)
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]


def set_dumpable(value):
    """Decides whether processes of the same user may look into this one."""
    if LIBC.prctl(PR_SET_DUMPABLE, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def touch_pages():
    """Writes every page of this process as it is. The kernel of gVisor maps each one when it is first
    used, and again after a fork, which takes it longer than anything else that a run does.
    """
    if not IS_GVISOR:
        return
    with open("/proc/self/maps") as file:
        lines = file.read().splitlines()
    copy = LIBC.memcpy
    for line in lines:
        span, mode, _, _, _, *name = line.split(None, 5)
        begin, end = (int(address, 16) for address in span.split("-"))
        if mode[0] != "r" or (name and name[0].startswith("[v")) or end - begin > TOUCHED_MAX:
            continue
        for page in range(begin, end, resource.getpagesize()):
            if mode[1] == "w":
                copy(ctypes.c_void_p(page), ctypes.c_void_p(page), 1)
            else:
                ctypes.string_at(page, 1)


def widen_pipe(fd):
    """Asks for a larger pipe; one that cannot grow works too."""
    try:
        import fcntl

        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 1 << 20)
    except OSError:
        pass


def default_signals():
    """Undoes what Python ignores, for programs that are not Python's."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
