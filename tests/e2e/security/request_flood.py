"""Attempts: to keep the host busy with requests without end.
Seen from outside: after many refusals the run is ended.
Kind: protocol
Flags: --timeout 60s
Expect: {"outcome": {"kind": "bad_result"}, "answer": ""}
"""
import _agentfactory


def main(query):
    while True:
        _agentfactory.request("web_search", {"query": "x"})
