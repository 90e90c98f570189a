"""What a program's result or exception becomes: the claim that the host gets."""

import json
import sys

# A file may be as large as the largest file system: where that is full, one of the first two says so.
EFBIG, ENOSPC, EDQUOT = 27, 28, 122


class BadResult(Exception):
    """What main returned cannot be taken."""


def result_of(module, query, limit):
    main = getattr(module, "main", None)
    if main is None:
        raise BadResult("the entry file defines no main(query)")
    if not callable(main):
        raise BadResult(f"main is not a function but {kind_of(main)}")
    value = main(query)
    if not isinstance(value, dict):
        if type(value).__name__ == "coroutine":
            value.close()
            raise BadResult("main returned a coroutine: define it with def, not async def")
        raise BadResult(f"main returned {kind_of(value)}, not a dict")
    claim = {"kind": "result"}
    for key in ("answer", "summary"):
        claim[key] = text_of(key, dict.get(value, key))
    size = len(json.dumps([claim["answer"], claim["summary"]], ensure_ascii=False).encode())
    if size > limit:
        raise BadResult(f"answer and summary have {size} bytes, at most {limit} are taken")
    return claim


def kind_of(value):
    name = type(value).__name__
    if name == "NoneType":
        return "None"
    return ("an " if name[:1].lower() in "aeiou" else "a ") + name


def text_of(key, value):
    """A string as it is, None as nothing, anything else as its JSON text."""
    if value is None:
        return ""
    if isinstance(value, str):
        text = str.__str__(value)
    else:
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except RecursionError:
            raise BadResult(f"{key} is nested too deep") from None
        except MemoryError:
            raise
        except Exception as error:
            raise BadResult(f"{key} cannot be written as JSON: {error}") from None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadResult(f"{key} is not valid Unicode: {error.reason}") from None
    return text


def exit_status(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return int.__and__(code, 0xFF)
    print(code, file=sys.stderr)
    return 1


def describe(error, limit):
    """What an exception says, without the frames of this file."""
    import traceback

    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    here = describe.__code__.co_filename
    frame = error.__traceback__
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        if file != here and not file.startswith("<frozen importlib"):
            break
        frame = frame.tb_next
    try:
        text = "".join(traceback.format_exception(kind, error, frame))
    except BaseException as failure:
        text = f"{name}: its traceback could not be written ({type(failure).__name__})\n"
    try:
        message = str(error)
    except BaseException as failure:
        message = f"its message could not be read ({type(failure).__name__})"
    claim = {
        "kind": "raised",
        "exception": shorten(printable(name), 200),
        "message": shorten(printable(message), limit),
        "traceback": shorten(printable(text), limit),
        "no_space": False,
        "path": "",
    }
    full = no_space_of(error)
    if full is not None:
        claim["no_space"] = True
        if isinstance(full.filename, str):
            claim["path"] = printable(full.filename)[:4096]
    traceback.clear_frames(error.__traceback__)
    return claim


def no_space_of(error):
    """The error of a full file system that an exception is, or that it came from."""
    for _ in range(16):
        if isinstance(error, OSError) and error.errno in (EFBIG, ENOSPC, EDQUOT):
            return error
        error = error.__cause__ or error.__context__
        if error is None:
            break
    return None


def printable(text):
    """Text that can be sent: what is not Unicode is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def shorten(text, limit):
    """Keeps the beginning and the end, at most `limit` bytes."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    mark = f"\n... {len(raw) - limit} bytes left out ...\n".encode()
    half = max(0, limit - len(mark) - 8) // 2
    kept = raw[:half].decode("utf-8", "ignore") + mark.decode()
    return kept + raw[len(raw) - half :].decode("utf-8", "ignore")
