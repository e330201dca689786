"""Searches with ldap3: usage ldap3_client.py URL CA NAME PASSWORD SEARCHES."""

import base64
import json
import ssl
import sys

from ldap3 import BASE, LEVEL, NONE, SUBTREE, Connection, Server, Tls

url, ca, name, password, searches = sys.argv[1:]
SCOPES = {"base": BASE, "one": LEVEL, "sub": SUBTREE}

tls = Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=ca)
# No schema, so that attributes the server's schema lacks may be asked for, as phones do.
server = Server(url, tls=tls, get_info=NONE, connect_timeout=30)
connection = Connection(server, name, password, auto_referrals=False, check_names=False, return_empty_attributes=False, receive_timeout=30)
connection.open()
if url.startswith("ldap://"):
    assert connection.start_tls(), connection.result
assert connection.bind(), connection.result
with open(searches, encoding="utf-8") as file:
    for search in json.load(file):
        connection.search(
            search["base"],
            search["filter"],
            SCOPES[search["scope"]],
            attributes=search["attributes"] or ["*"],
            size_limit=search["sizelimit"],
        )
        entries = [answer for answer in connection.response or [] if answer["type"] == "searchResEntry"]
        found = [
            [entry["dn"], {key: [base64.b64encode(v).decode() for v in values] for key, values in entry["raw_attributes"].items()}]
            for entry in entries
        ]
        print(json.dumps({"code": connection.result["result"], "entries": sorted(found, key=lambda entry: entry[0])}, sort_keys=True))
connection.unbind()
