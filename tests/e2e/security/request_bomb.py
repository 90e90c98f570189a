"""Attempts: to exhaust the host's memory with requests that are small as text and large when read.
Seen from outside: refusals.
Kind: protocol
Expect: {"outcome": {"kind": "completed"}, "answer": "{'error': 'a request may hold 20000 values'}"}
"""
import _agentfactory


def main(query):
    answers = {str(_agentfactory.request("llm", [{"": 0}] * 400_000)) for _ in range(20)}
    return {"answer": "\n".join(answers), "summary": ""}
