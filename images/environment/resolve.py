"""Finds the wheels that satisfy requirements, and fetches them. Standard library only, and pip.

Runs in a sandbox that reaches the package index and nothing else. The host believes nothing of what
comes back: it hashes every wheel itself, and compares.
"""

import hashlib
import html.parser
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

PIP = "pip.whl"
WHEELS = "wheels"
JSON = "application/vnd.pypi.simple.v1+json"
ACCEPT = JSON + ", application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
PAGE_MAX = 64 << 20
WHY_MAX = 2000


class Refused(Exception):
    """What cannot be satisfied: a kind that the host knows, what it is about, and why."""

    def __init__(self, kind, subject, why):
        super().__init__(kind, subject, why)
        self.said = {"kind": kind, "subject": subject[:300], "why": why[-WHY_MAX:]}


class Links(html.parser.HTMLParser):
    """The links of a page. Source: PEP 503."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "a" and attributes.get("href"):
            self.found.append(attributes)


def failed(url, error):
    """Why there was no answer, and from whom: not all that an index names is at the index."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if isinstance(error, urllib.error.HTTPError):
        # The way out of this sandbox says its reasons in place of the usual phrase. A query may be a
        # signature, which is nobody's to read.
        place = f"{parts.scheme}://{host}{parts.path}"
        return f"{host} answered {error.code} ({error.reason}) for {place}"
    return f"{host} gave no answer: {getattr(error, 'reason', error)}"


def files_of(index, name):
    """What the index offers of a project, or None. Source: PEP 503 and PEP 691."""
    from pip._vendor.packaging.utils import canonicalize_name

    page = urllib.parse.urljoin(index, canonicalize_name(name) + "/")
    request = urllib.request.Request(page, headers={"Accept": ACCEPT})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            kind, page = answer.headers.get_content_type(), answer.geturl()
            body = answer.read(PAGE_MAX + 1)
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            return None
        raise Refused("index", name, failed(error.url or page, error)) from None
    except OSError as error:
        raise Refused("index", name, failed(page, error)) from None
    if len(body) > PAGE_MAX:
        raise Refused("index", name, "its page at the index is too long")
    if kind == JSON:
        return [
            {
                "name": file["filename"],
                "url": urllib.parse.urljoin(page, file["url"]),
                "sha256": file.get("hashes", {}).get("sha256"),
                "python": file.get("requires-python"),
            }
            for file in json.loads(body)["files"]
        ]
    links = Links()
    links.feed(body.decode("utf-8", "replace"))
    files = []
    for link in links.found:
        url = urllib.parse.urljoin(page, link["href"])
        parts = urllib.parse.urlsplit(url)
        fragment = re.search(r"sha256=([0-9a-f]{64})", parts.fragment)
        files.append(
            {
                "name": urllib.parse.unquote(parts.path.rpartition("/")[2]),
                "url": urllib.parse.urldefrag(url).url,
                "sha256": fragment and fragment[1],
                "python": link.get("data-requires-python"),
            }
        )
    return files


def hash_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def elsewhere(index, known):
    """Hosts that the index has its files at and that cannot be reached yet, by its page about pip.

    Nothing but pages of the index has been read by then: what they link to is the index's word.
    """
    page = urllib.parse.urljoin(index, "pip/")
    try:
        with urllib.request.urlopen(page, timeout=60) as answer:
            page, body = answer.geturl(), answer.read(PAGE_MAX)
    except urllib.error.HTTPError:
        return []
    except OSError as error:
        raise Refused("index", "pip", failed(page, error)) from None
    links = Links()
    links.feed(body.decode("utf-8", "replace"))
    hosts = set()
    for link in links.found:
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(page, link["href"]))
        if parts.scheme in ("http", "https") and parts.hostname:
            hosts.add(f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname)
    return sorted(hosts.difference(known))[:10]


def fetch_pip(index, wanted):
    """Gets the one pip that this is written for; everything below runs it."""
    if not os.path.exists(PIP):
        asked = page = urllib.parse.urljoin(index, "pip/")
        url = None
        try:
            with urllib.request.urlopen(page, timeout=60) as answer:
                page, body = answer.geturl(), answer.read(PAGE_MAX)
            links = Links()
            links.feed(body.decode("utf-8", "replace"))
            for link in links.found:
                if urllib.parse.urlsplit(link["href"]).path.endswith("/" + wanted["name"]):
                    url = urllib.parse.urljoin(page, link["href"])
            if url is None:
                raise Refused("pip", wanted["name"], "the index does not have it")
            asked = urllib.parse.urldefrag(url).url
            with urllib.request.urlopen(asked, timeout=60) as answer, open(PIP, "wb") as out:
                out.write(answer.read(PAGE_MAX))
        except OSError as error:
            asked = getattr(error, "url", None) or asked
            raise Refused("index", "pip", failed(asked, error)) from None
    if hash_of(PIP) != wanted["sha256"]:
        raise Refused("pip", wanted["name"], "what the index gave has another hash")
    sys.path.insert(0, PIP)


def pip(*arguments):
    """Runs pip and returns whether it succeeded, and what it said."""
    os.makedirs("tmp", exist_ok=True)
    environment = dict(os.environ, TMPDIR="tmp", PIP_CONFIG_FILE=os.devnull)
    command = [sys.executable, os.path.join(PIP, "pip"), *arguments]
    said = []
    running = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    for line in running.stdout:
        said.append(line)
        if line.startswith("Collecting "):
            print(line.strip()[:200], flush=True)
    return running.wait() == 0, "".join(said[-400:])


def checked(requirements):
    """The requirements, none of which may name a place of its own."""
    from pip._vendor.packaging.requirements import InvalidRequirement, Requirement

    parsed = []
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise Refused("syntax", text, str(error).splitlines()[0]) from None
        if requirement.url:
            raise Refused("syntax", text, "it names an address; only the index is used")
        parsed.append(requirement)
    return parsed


def fits(tag, minor):
    """Whether a wheel with this tag is for this Python, on some platform. Source: PEP 425."""
    known = re.fullmatch(r"(cp|py)3(\d*)", tag.interpreter)
    if known is None:
        return False
    made_for = int(known[2] or 0)
    if known[1] == "py":
        return made_for <= minor and tag.abi == "none"
    if tag.abi == "abi3":
        return made_for <= minor
    return made_for == minor and tag.abi in (f"cp3{minor}", "none")


def lock(index, file, minor):
    """The project, version and hashes of what was fetched, and of its kin for other platforms."""
    from pip._vendor.packaging.utils import InvalidWheelFilename, parse_wheel_filename

    name, version, _, _ = parse_wheel_filename(file)
    hashes = set()
    for other in files_of(index, name) or ():
        try:
            _, found, _, tags = parse_wheel_filename(other["name"])
        except InvalidWheelFilename:
            continue
        if found == version and any(fits(tag, minor) for tag in tags):
            if other["sha256"] is None:
                raise Refused("index", name, "the index gives no SHA-256 for its files")
            hashes.add(other["sha256"])
    own = hash_of(os.path.join(WHEELS, file))
    if own not in hashes:
        raise Refused("index", name, "what the index gave is not what it lists")
    return {"name": str(name), "version": str(version), "wheels": sorted(hashes)}


def explain(index, said, minor):
    """Why pip found no answer, in terms of what was asked for."""
    from pip._vendor.packaging.requirements import InvalidRequirement, Requirement
    from pip._vendor.packaging.specifiers import InvalidSpecifier, SpecifierSet
    from pip._vendor.packaging.utils import InvalidWheelFilename, parse_wheel_filename

    if "ResolutionImpossible" in said:
        cause = re.search(r"The conflict is caused by:\n(.*?)(\n\s*\n|\Z)", said, re.S)
        lines = cause[1].splitlines() if cause else ["they exclude each other"]
        return Refused("conflict", "", "; ".join(line.strip() for line in lines))
    errors = [line for line in said.splitlines() if line.startswith("ERROR: ")]
    last = errors[-1].removeprefix("ERROR: ") if errors else said.strip()[-500:]
    missing = re.search(r"No matching distribution found for (.+)", said)
    try:
        wanted = Requirement(missing[1].partition(" (from ")[0]) if missing else None
    except InvalidRequirement:
        wanted = None
    if wanted is None:
        kind = "hash" if "DO NOT MATCH THE HASHES" in said else "failed"
        return Refused(kind, "", last)
    files = files_of(index, wanted.name)
    if not files:
        return Refused("unknown", str(wanted), "the index does not know it")
    versions, pythons = {}, set()
    for file in files:
        try:
            _, version, _, tags = parse_wheel_filename(file["name"])
        except InvalidWheelFilename:
            continue
        versions.setdefault(version, []).append((file, tags))
    if not versions:
        return Refused("no_wheel", str(wanted), "the index has it as source only")
    fitting = [one for version in wanted.specifier.filter(versions) for one in versions[version]]
    if not fitting:
        known = ", ".join(str(version) for version in sorted(versions)[-5:])
        return Refused("version", str(wanted), f"the index has wheels of {known}")
    for file, _ in fitting:
        try:
            if file["python"] and f"3.{minor}" not in SpecifierSet(file["python"]):
                pythons.add(file["python"])
        except InvalidSpecifier:
            continue
    if pythons and not any(fits(tag, minor) for _, tags in fitting for tag in tags):
        return Refused("python", str(wanted), f"it needs Python {sorted(pythons)[-1]}")
    if pythons:
        return Refused("python", str(wanted), f"its releases need Python {sorted(pythons)[-1]}")
    return Refused("no_wheel", str(wanted), "it has no wheel for this Python and platform")


def resolve(request):
    index, minor = request["index"], sys.version_info[1]
    hosts = elsewhere(index, request["hosts"])
    if hosts:
        return {"elsewhere": hosts}
    fetch_pip(index, request["pip"])
    common = ["download", "--no-input", "--disable-pip-version-check", "--no-cache-dir"]
    common += ["--progress-bar", "off", "--only-binary", ":all:", "--index-url", index]
    common += ["--dest", WHEELS]
    if index.startswith("http://"):
        # The operator chose it so; every wheel is compared with the hash that is locked all the same.
        common += [part for host in request["hosts"] for part in ("--trusted-host", host)]
    os.mkdir(WHEELS)
    if request["lock"] is not None:
        with open("locked.txt", "w") as out:
            for one in request["lock"]:
                hashes = "".join(f" --hash=sha256:{digest}" for digest in one["wheels"])
                out.write(f"{one['name']}=={one['version']}{hashes}\n")
        ended, said = pip(*common, "--no-deps", "--require-hashes", "-r", "locked.txt")
    else:
        requirements = [str(one) for one in checked(request["requirements"])]
        ended, said = pip(*common, "--", *requirements)
    if not ended:
        raise explain(index, said, minor)
    files = sorted(os.listdir(WHEELS))
    locked = request["lock"] or [lock(index, file, minor) for file in files]
    return {"lock": locked, "python": f"3.{minor}", "names": direct(request)}


def direct(request):
    """The normalised names of what was asked for itself."""
    from pip._vendor.packaging.utils import canonicalize_name

    return [canonicalize_name(one.name) for one in checked(request["requirements"])]


def main(query):
    try:
        answer = resolve(json.loads(query))
    except Refused as refused:
        answer = {"refused": refused.said}
    return {"answer": json.dumps(answer, sort_keys=True), "summary": ""}
