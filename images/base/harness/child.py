"""The child: it waits for its program, and runs it."""

import json
import os
import resource
import sys

from .imports import import_ahead, preload, release
from .prepare import prepare
from .results import result_of
from .shell import run_shell
from .subagent import load, run_subagent
from .system import CODE, EXIT, IS_GVISOR, PROXY_ENVIRONMENT, touch_pages


def run_child(channel_in, channel_out, out, err, imports):
    """Becomes the child and never returns."""
    status = 70
    try:
        channel = prepare(channel_in, channel_out, out, err)
        resolve_localhost()
        preload()
        import_ahead(imports)
        channel.open_code()
        rehearse(channel)
        seconds, source, program = channel.start(stir)
        # The kernel counts what was used before, too.
        seconds += int(channel.used_s)
        # Nobody may limit another process here, PID 1 included; nobody can raise a hard limit.
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        program = json.loads(program)
        if program.get("proxy"):
            os.environ.update(PROXY_ENVIRONMENT)
        if "command" in program:
            run_shell(program["command"])
        else:
            status = run_subagent(program, source, channel)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        EXIT(status)


def resolve_localhost():
    """Keeps `localhost` a name: without a network, the engine empties the hosts file."""
    import _socket

    names = {"localhost", b"localhost", os.uname().nodename}

    def wrap(function):
        def resolve(host, *arguments, **options):
            if isinstance(host, (str, bytes)) and host in names:
                family = arguments[1] if len(arguments) > 1 else options.get("family", 0)
                host = "::1" if family == _socket.AF_INET6 else "127.0.0.1"
            return function(host, *arguments, **options)

        resolve.__name__ = resolve.__qualname__ = function.__name__
        resolve.__doc__ = function.__doc__
        return resolve

    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        setattr(_socket, name, wrap(getattr(_socket, name)))


REHEARSAL = "import json\ndef main(query):\n    return {'answer': query, 'summary': ''}\n"


def rehearse(channel):
    """Goes once through what each run does: what is loaded and touched now costs no run its time."""
    import gc

    path, argv, main = sys.path[:], sys.argv[:], sys.modules["__main__"]
    file = os.path.join(os.fsdecode(CODE), "rehearsal.py")
    with open(file, "w") as out:
        out.write(REHEARSAL)
    try:
        module = load(b"rehearsal.py".hex(), b"", channel, {"shell_chars": 0})
        channel.dumps(result_of(module, json.loads('"ping"'), 1 << 10)).encode()
        release(module)
    finally:
        os.unlink(file)
        sys.path[:], sys.argv[:], sys.modules["__main__"] = path, argv, main
        for name in ("rehearsal", "_agentfactory"):
            sys.modules.pop(name, None)
    if not IS_GVISOR:  # There, closing it takes longer than finding it by its path, which few runs do.
        channel.open_code()
    gc.collect()
    gc.freeze()
    touch_pages()


def stir():
    """Uses the memory that a run begins with, which leaves nothing behind."""
    names = {}
    exec(compile(REHEARSAL, "rehearsal", "exec", dont_inherit=True), names)
    json.dumps(names["main"]("ping")).encode()
    names.clear()
