"""call_llm for a subagent outside AgentFactory, with the standard library only.

The model is written PROVIDER:ID in AGENTFACTORY_MODEL: anthropic:ID speaks the Anthropic Messages protocol
(ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL), openai:ID the OpenAI Chat Completions protocol (OPENAI_API_KEY,
OPENAI_BASE_URL), ollama:ID the latter with a local Ollama (OLLAMA_BASE_URL).
"""

import email.utils
import http.client
import json
import os
import random
import re
import socket
import time
import urllib.error
import urllib.parse
import urllib.request

#: Says what the version was granted.
VERSION = os.path.join(os.path.dirname(os.path.realpath(__file__)), "subagent.json")
ATTEMPTS = 5
WAIT_MAX = 60.0  # seconds between two attempts
TIMEOUT = 600.0  # seconds without a byte from the endpoint
REPLY_MAX = 32 << 20  # bytes
DEFAULTS = {
    "anthropic": ("ANTHROPIC", "https://api.anthropic.com"),
    "openai": ("OPENAI", "https://api.openai.com/v1"),
    "ollama": ("OLLAMA", "http://localhost:11434/v1"),
}


class Failure(Exception):
    """Why there is no reply, for people."""


class Temporary(Failure):
    """A failure that may pass; `wait` is what the endpoint asked for, in seconds."""

    def __init__(self, message, wait=None):
        super().__init__(message)
        self.wait = wait


def call_llm(system, messages, max_tokens=8000):
    """Asks the configured model; returns its text, or a string that starts with `Error:`."""
    try:
        if not _granted():
            raise Failure("refused: this subagent was not granted the skill `llm`")
        return _ask(*_checked(system, messages, max_tokens))
    except Failure as error:
        return f"Error: {error}"
    except Exception as error:  # The contract: an error is a string, whatever it is.
        return f"Error: {type(error).__name__}: {error}"


def _granted():
    with open(VERSION, encoding="utf-8") as file:
        return "llm" in json.load(file)["skills"]


def _checked(system, messages, max_tokens):
    """Arguments in their plain form; system messages join the system prompt."""
    system = "" if system is None else str(system)
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    plain = []
    for message in messages if isinstance(messages, (list, tuple)) else [None]:
        if not (isinstance(message, dict) and isinstance(message.get("content"), str)):
            raise Failure('messages must be a list of {"role": ..., "content": TEXT}')
        role, content = message.get("role"), message["content"]
        if role == "system":
            system = "\n\n".join(filter(None, [system, content]))
        elif role in ("user", "assistant"):
            plain.append({"role": role, "content": content})
        else:
            raise Failure(f"a message cannot have the role {role!r}")
    if not plain or plain[-1]["role"] != "user":
        raise Failure("the messages must end with one of the user")
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
        raise Failure("max_tokens must be a number of at least 1")
    return system, plain, max_tokens


def _endpoint(base, method):
    """The address of a method: a base that names no version, such as /v1, gets it."""
    address = urllib.parse.urlsplit(base)
    path = address.path.rstrip("/")
    if not path.endswith(method):
        versioned = any(re.fullmatch(r"v\d+[a-z0-9]*", part) for part in path.split("/"))
        path += method if versioned else "/v1" + method
    return urllib.parse.urlunsplit(address._replace(path=path))


def _ask(system, messages, max_tokens):
    provider, _, model = os.environ.get("AGENTFACTORY_MODEL", "").strip().partition(":")
    if not provider or not model:
        raise Failure("no model is configured: set AGENTFACTORY_MODEL=PROVIDER:ID with anthropic, openai or ollama")
    if provider not in DEFAULTS:
        raise Failure(f"unknown provider {provider!r} in AGENTFACTORY_MODEL: use anthropic, openai or ollama")
    prefix, default = DEFAULTS[provider]
    base = os.environ.get(f"{prefix}_BASE_URL", "").strip().rstrip("/")
    key = os.environ.get(f"{prefix}_API_KEY", "").strip()
    if not key and not base and provider != "ollama":
        raise Failure(f"no key: set {prefix}_API_KEY")
    if not (key.isascii() and key.isprintable()):
        raise Failure(f"{prefix}_API_KEY holds characters that no key has")
    base = base or default
    if provider == "anthropic":
        url = _endpoint(base, "/messages")
        headers = {"anthropic-version": "2023-06-01", **({"x-api-key": key} if key else {})}
        body = {"model": model, "max_tokens": max_tokens, "messages": messages}
        if system:
            body["system"] = system
        return _anthropic_text(_post(url, headers, body))
    url = _endpoint(base, "/chat/completions")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    if system:
        messages = [{"role": "system", "content": system}, *messages]
    # OpenAI's own models take no `max_tokens` any more; most others know nothing else.
    limit = "max_completion_tokens" if urllib.parse.urlsplit(url).hostname == "api.openai.com" else "max_tokens"
    return _openai_text(_post(url, headers, {"model": model, limit: max_tokens, "messages": messages}))


def _anthropic_text(reply):
    blocks = reply.get("content")
    if not isinstance(blocks, list):
        raise Failure("the endpoint's answer has no `content`")
    texts = [block.get("text") for block in blocks if isinstance(block, dict) and block.get("type") == "text"]
    return _text(texts, reply.get("stop_reason"))


def _openai_text(reply):
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise Failure("the endpoint's answer has no `choices`")
    content = message.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
    else:
        texts = [content]
    return _text(texts, choice.get("finish_reason"))


def _text(texts, reason):
    text = "".join(text for text in texts if isinstance(text, str))
    if not text:
        raise Failure(f"the model wrote no text (it stopped because of {reason!r})")
    return text


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another address: it becomes an error instead."""

    def redirect_request(self, *_):
        return None


_opener = urllib.request.build_opener(_NoRedirect)


def _post(url, headers, body):
    """Sends JSON, again where it may help; returns the JSON object that comes back."""
    parts = urllib.parse.urlsplit(url)
    if "@" in parts.netloc:
        raise Failure("the address of the endpoint must not hold a user or password")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Failure(f"`{url}` is not an http or https address")
    data = json.dumps(body).encode("ascii")
    for attempt in range(1, ATTEMPTS + 1):
        request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
        try:
            return _receive(request, url)
        except Temporary as error:
            if attempt == ATTEMPTS:
                raise Failure(f"{error} (after {ATTEMPTS} attempts)") from error
            wait = error.wait if error.wait is not None else 2 ** (attempt - 1) * random.uniform(0.5, 1.0)
            if wait > WAIT_MAX:
                raise Failure(f"{error}; it asks to wait {wait:.0f} seconds") from error
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _receive(request, url):
    try:
        with _opener.open(request, timeout=TIMEOUT) as response:
            data = response.read(REPLY_MAX + 1)
            if len(data) <= REPLY_MAX and response.length:  # Bytes are missing; a bounded read does not say so.
                raise Temporary(f"the connection to `{url}` broke in the middle of the answer")
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error, url) from error
    except urllib.error.URLError as error:
        # A refused connection or an unknown name does not pass by waiting a few seconds.
        final = isinstance(error.reason, (ConnectionRefusedError, socket.gaierror))
        raise (Failure if final else Temporary)(f"no connection to `{url}`: {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Temporary(f"the connection to `{url}` broke: {error or type(error).__name__}") from error
    if len(data) > REPLY_MAX:
        raise Failure(f"`{url}` answered more than {REPLY_MAX} bytes")
    try:
        reply = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Failure(f"`{url}` answered something that is not JSON") from error
    if not isinstance(reply, dict):
        raise Failure(f"`{url}` answered something that is not a JSON object")
    return reply


def _refusal(error, url):
    """An HTTP status that is not success, as a failure."""
    try:
        said = error.read(64 << 10)
        detail = json.loads(said).get("error")
        message = detail.get("message") if isinstance(detail, dict) else detail
    except Exception:  # Whatever the body is, the status says enough.
        message = None
    message = " ".join(str(message or error.reason or "").split())[:500]
    text = f"`{url}` answered HTTP {error.code}: {message}"
    if error.code in (408, 409, 429) or error.code >= 500:
        return Temporary(text, _retry_after(error.headers.get("retry-after")))
    if error.code in (401, 403):
        return Failure(f"{text}; check the key")
    return Failure(text)


def _retry_after(value):
    """Seconds, from either form of the header; None when there is none."""
    if not value:
        return None
    try:
        return min(max(float(value), 0.0), 1e6)
    except ValueError:
        pass
    try:
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None
