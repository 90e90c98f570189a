"""Uses: csv, json, xml, html, toml, ini, email, mime, urllib.parse, textwrap, difflib, string templates, regular expressions.
Expect: {"answer": "csv 3 total 6.5, json True, xml ['one', 'two'], html 2 links, toml 8080, ini yes, mail 2 parts Gr\u00fc\u00dfe, url a=1&b=%C3%BC, diff 2, template Hello World"}
"""
import configparser
import csv
import difflib
import email
import email.message
import email.policy
import html.parser
import json
import string
import tomllib
import urllib.parse
import xml.dom.minidom
import xml.etree.ElementTree as ElementTree


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if tag == "a" and name == "href"]


def main(query):
    with open("rows.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["name", "value"])
        writer.writeheader()
        writer.writerows([{"name": 'a "quoted", one', "value": 1.5}, {"name": "two\nlines", "value": 2}, {"name": "ü", "value": 3}])
    with open("rows.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    total = sum(float(row["value"]) for row in rows)
    value = {"nested": [1, 2.5, None, True, {"ü": "\u2028"}], "big": 2**70}
    same = json.loads(json.dumps(value, ensure_ascii=False)) == value
    root = ElementTree.fromstring("<all><item>one</item><item>two</item></all>")
    items = [item.text for item in root.iter("item")]
    xml.dom.minidom.parseString(ElementTree.tostring(root)).toprettyxml()
    links = Links()
    links.feed("<p><a href='x'>1</a><a href=y>2<b>open")
    port = tomllib.loads("[server]\nport = 8080\n")["server"]["port"]
    ini = configparser.ConfigParser()
    ini.read_string("[main]\nkey = yes\n")
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["Subject"] = "Grüße"
    message.set_content("text")
    message.add_attachment(b"bytes", maintype="application", subtype="octet-stream", filename="a.bin")
    read = email.message_from_bytes(message.as_bytes(), policy=email.policy.default)
    query_text = urllib.parse.urlencode({"a": 1, "b": "ü"})
    changes = [line for line in difflib.unified_diff(["a", "b"], ["a", "c"], lineterm="") if line[0] in "+-" and line[:3] not in ("+++", "---")]
    text = string.Template("Hello $name").substitute(name="World")
    return {"answer": f"csv {len(rows)} total {total}, json {same}, xml {items}, html {len(links.found)} links, toml {port}, ini {ini['main']['key']}, "
            f"mail {len(list(read.iter_parts()))} parts {read['Subject']}, url {query_text}, diff {len(changes)}, template {text}"}
