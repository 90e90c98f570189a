"""Attempts: to exhaust the host's memory with requests that are small as text and large when read. Seen from outside: refusals."""
import _agentfactory


def main(query):
    answers = {str(_agentfactory.request("llm", [{"": 0}] * 400_000)) for _ in range(20)}
    return {"answer": "\n".join(answers), "summary": ""}
