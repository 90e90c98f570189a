"""Attempts: to leave more files than anyone can look at.
Seen from outside: some come back, the rest is counted.
Kind: resources
Flags: --timeout 60s
Expect: {"outcome": {"kind": "completed"}, "answer": "left"}
"""


def main(query):
    for number in range(20_000):
        with open(f"file-{number:05}", "w") as file:
            file.write("x")
    return {"answer": "left"}
