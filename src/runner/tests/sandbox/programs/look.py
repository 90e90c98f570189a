"""Looks around: what is there, and what is refused."""

import ctypes, errno, os, resource, socket, stat, sys
libc = ctypes.CDLL(None, use_errno=True)

def syscall(number, *arguments):
    if libc.syscall(number, *arguments) >= 0: return "allowed"
    return errno.errorcode[ctypes.get_errno()]

def attempt(action):
    try:
        action()
        return "allowed"
    except OSError as error:
        return errno.errorcode[error.errno]

def status(name):
    for line in open("/proc/self/status"):
        if line.startswith(name + ":"): return line.split()[1]

def limit(name):
    return resource.getrlimit(getattr(resource, "RLIMIT_" + name))[1]

def writable():
    found = []
    for root, folders, files in os.walk("/"):
        if root.startswith(("/proc", "/sys")): folders.clear(); continue
        for name in folders + files:
            path = os.path.join(root, name)
            if not os.path.islink(path) and os.access(path, os.W_OK): found.append(path)
        if root.startswith(("/workspace", "/tmp", "/code")): folders.clear()
    return sorted(found)

def main(query):
    page = ctypes.create_string_buffer(4096)
    return {"answer": {
        "uid": os.getresuid(), "groups": os.getgroups(),
        "capabilities": [status(n) for n in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
        "no_new_privs": status("NoNewPrivs"), "seccomp": status("Seccomp"),
        "interfaces": [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]],
        "environment": dict(os.environ),
        "hosts": socket.gethostname(),
        "limits": {n: limit(n) for n in ("CORE", "NOFILE", "SIGPENDING", "MSGQUEUE")},
        "calls": {
            "io_uring_setup": syscall(425, 1, page), "ptrace": syscall(101, 16, 1, 0, 0),
            "process_vm_readv": syscall(310, 1, page, 1, page, 1, 0), "bpf": syscall(321, 0, page, 16),
            "perf_event_open": syscall(298, page, 0, -1, -1, 0), "keyctl": syscall(250, 0, -3, 1),
            "add_key": syscall(248, b"user", b"x", b"y", 1, -3), "userfaultfd": syscall(323, 1),
            "pidfd_getfd": syscall(438, 3, 0, 0), "unshare": syscall(272, 0x10000000),
            "setns": syscall(308, 0, 0), "mount": syscall(165, b"x", b"/tmp", b"tmpfs", 0, 0),
            "clone3": syscall(435, page, 64), "clone newuser": syscall(56, 0x10000011, 0, 0, 0, 0),
            "clone newnet": syscall(56, 0x40000011, 0, 0, 0, 0),
            "personality": syscall(135, 0x40000), "prlimit 1": syscall(302, 1, 7, page, 0),
            "chroot": syscall(161, b"/tmp"), "kexec_load": syscall(246, 0, 0, 0, 0),
            "reboot": syscall(169, 0, 0, 0, 0), "swapon": syscall(167, b"/x", 0),
            "clock_settime": syscall(227, 0, page), "quotactl": syscall(179, 0, 0, 0, 0),
            "init_module": syscall(175, page, 1, b""), "open_by_handle_at": syscall(304, 0, page, 0),
            "setpriority 1": syscall(141, 0, 1, 19), "sched_setscheduler 1": syscall(144, 1, 5, page),
            "modify_ldt": syscall(154, 0, page, 0), "memfd_secret": syscall(447, 0),
            "fsopen": syscall(430, b"tmpfs", 0), "mq_open": syscall(240, b"x", 0o102, 0o600, 0),
        },
        "sockets": {name: attempt(lambda: socket.socket(family, kind)) for name, family, kind in [
            ("inet", 2, 1), ("inet6", 10, 1), ("unix", 1, 1), ("vsock", 40, 1), ("alg", 38, 5),
            ("packet", 17, 3), ("netlink", 16, 3), ("bluetooth", 31, 3)]},
        "raw": attempt(lambda: socket.socket(2, 3, 1)),
        "connect": attempt(lambda: socket.create_connection(("192.0.2.1", 80), 1)),
        "masked": [p for p in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts")
                   if os.path.exists(p) and open(p, "rb").read(1)],
        "device": attempt(lambda: os.mknod("/workspace/null", stat.S_IFCHR | 0o600, os.makedev(1, 3))),
        "writable": writable(),
        "parent": [attempt(lambda: os.readlink("/proc/1/exe")), attempt(lambda: os.setpriority(0, 1, 5))],
        "kernel": attempt(lambda: os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY)),
    }}
