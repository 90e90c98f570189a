"""Attempts: to fetch the credentials that clouds give to whoever asks from inside.
Seen from outside: nothing answers.
Kind: network
Expect: {"outcome": {"kind": "completed"}, "answer": "read []"}
"""
import urllib.request


def main(query):
    read = []
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for url in ("http://169.254.169.254/latest/meta-data/", "http://169.254.170.2/v2/credentials", "http://[fd00:ec2::254]/latest/",
                "http://metadata.google.internal/computeMetadata/v1/", "http://100.100.100.200/latest/meta-data/",
                "http://2852039166/latest/meta-data/", "http://0xa9fea9fe/", "http://169.254.169.254.nip.io/"):
        request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google", "X-aws-ec2-metadata-token-ttl-seconds": "60"})
        try:
            read.append(opener.open(request, timeout=1).read(100))
        except OSError:
            pass
    return {"answer": f"read {read}"}
