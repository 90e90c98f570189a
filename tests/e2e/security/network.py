"""Attempts: to reach any network.
Seen from outside: there is no interface but loopback, and no name resolves.
Kind: network
Expect: {"outcome": {"kind": "completed"}, "answer": "reached [], interfaces []"}
"""
import socket


def main(query):
    reached = []
    targets = [("192.0.2.1", 80), ("169.254.169.254", 80), ("172.17.0.1", 2375), ("2001:db8::1", 80)]
    for host, port in targets:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as connection:
                connection.settimeout(2)
                connection.connect((host, port))
            reached.append(host)
        except OSError:
            pass
    for name in ("example.com", "host.docker.internal"):
        try:
            socket.getaddrinfo(name, 80)
            reached.append(name)
        except OSError:
            pass
    with open("/proc/net/dev") as file:
        names = [line.split(":")[0].strip() for line in file if ":" in line]
    # The kernel puts its tunnel stubs into every network namespace; none of them is up or has an address.
    stubs = ("tunl", "sit", "ip6tnl", "gre", "gretap", "erspan", "ip_vti", "ip6_vti", "ip6gre", "dummy")
    names = [name for name in names if name != "lo" and not name.startswith(stubs)]
    return {"answer": f"reached {reached}, interfaces {names}", "summary": ""}
