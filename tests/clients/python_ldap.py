"""Searches with python-ldap: usage python_ldap.py URL CA NAME PASSWORD SEARCHES."""

import base64
import json
import sys

import ldap

url, ca, name, password, searches = sys.argv[1:]
SCOPES = {"base": ldap.SCOPE_BASE, "one": ldap.SCOPE_ONELEVEL, "sub": ldap.SCOPE_SUBTREE}

connection = ldap.initialize(url)
connection.set_option(ldap.OPT_X_TLS_CACERTFILE, ca)
connection.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
connection.set_option(ldap.OPT_REFERRALS, 0)
connection.set_option(ldap.OPT_NETWORK_TIMEOUT, 30)
connection.set_option(ldap.OPT_TIMEOUT, 30)
if url.startswith("ldap://"):
    connection.start_tls_s()
connection.simple_bind_s(name, password)
with open(searches, encoding="utf-8") as file:
    for search in json.load(file):
        entries, code = [], 0
        request = connection.search_ext(
            search["base"], SCOPES[search["scope"]], search["filter"], search["attributes"] or None, sizelimit=search["sizelimit"]
        )
        try:
            while True:
                kind, data = connection.result(request, all=0)[:2]
                if kind == ldap.RES_SEARCH_RESULT:
                    break
                if kind == ldap.RES_SEARCH_ENTRY:
                    entries += data
        except ldap.LDAPError as error:
            code = error.args[0]["result"]
        found = [[dn, {key: [base64.b64encode(v).decode() for v in values] for key, values in entry.items()}] for dn, entry in entries]
        print(json.dumps({"code": code, "entries": sorted(found, key=lambda entry: entry[0])}, sort_keys=True))
connection.unbind_s()
