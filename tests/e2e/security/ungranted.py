"""Attempts: to use skills that it was not granted. Seen from outside: refusals that it can read."""


def main(query):
    from llm import call_llm
    from tools import execute_shell_command, read_url_jina, search_serper

    answers = [
        call_llm("", [{"role": "user", "content": "hello"}]),
        execute_shell_command("echo executed"),
        read_url_jina("http://127.0.0.1/"),
        str(search_serper("x")),
    ]
    return {"answer": "\n".join(answers), "summary": ""}
