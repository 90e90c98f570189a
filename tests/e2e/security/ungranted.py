"""Attempts: to use skills that it was not granted.
Seen from outside: refusals that it can read.
Kind: theft
Expect: {"outcome": {"kind": "completed"}, "answer": "refused 4 of 4, executed False"}
"""


def main(query):
    from llm import call_llm
    from tools import execute_shell_command, read_url_jina, search_serper

    answers = [
        call_llm("", [{"role": "user", "content": "hello"}]),
        execute_shell_command("echo executed"),
        read_url_jina("http://127.0.0.1/"),
        str(search_serper("x")),
    ]
    refused = sum("refused" in answer or "not granted" in answer for answer in answers)
    executed = any("executed" in answer for answer in answers)
    return {"answer": f"refused {refused} of {len(answers)}, executed {executed}"}
