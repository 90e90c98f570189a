"""Attempts: to reach other tools by odd names: paths, control characters, very long ones, those of the host.
Seen from outside: a refusal for each, and the log is not written by them.
Kind: protocol
Expect: {"outcome": {"kind": "completed"}, "answer": "refused 9 of 9"}
"""
import _agentfactory


def main(query):
    names = ["", "../llm", "LLM", "llm\0", "\x1b[2J", "x" * 100_000, "broker", "shell_command ", "__class__"]
    answers = [_agentfactory.request(name, {}) for name in names]
    return {"answer": f"refused {sum('error' in answer for answer in answers)} of {len(names)}"}
