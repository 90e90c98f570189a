"""The subagent's own model calls. The host chooses model and address, and may refuse."""

import _agentfactory


def call_llm(system, messages, max_tokens=8000):
    """Returns the model's reply as text; an error is a text that begins with `Error:`.

    `messages` is a list of {"role": ..., "content": ...}, or one text of the user.
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    arguments = {"system": system, "messages": messages, "max_tokens": max_tokens}
    answer = _agentfactory.request("llm", arguments)
    if not isinstance(answer, dict):
        return "Error: the answer cannot be read"
    if "ok" not in answer:
        return f"Error: {answer.get('error', 'the answer cannot be read')}"
    return answer["ok"] if isinstance(answer["ok"], str) else str(answer["ok"])
