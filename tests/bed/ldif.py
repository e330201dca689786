"""Prints the people as LDIF for slapadd: usage ldif.py COUNT PASSWORD_HASH."""

import base64
import sys

from people import DOMAIN, SERVICE_ACCOUNTS, TOWNS, people

BASE = ",".join(f"dc={label}" for label in DOMAIN.split("."))
SAFE = set(range(0x20, 0x7F))


def rdn(kind, value):
    """An RDN by RFC 4514 section 2.4."""
    escaped = "".join(f"\\{c}" if c in ',+"\\<>;=' else c for c in value)
    return f"{kind}={escaped}"


def put(name, value):
    """One attribute value by RFC 2849: as text where it is plain, else in base64."""
    octets = value if isinstance(value, bytes) else value.encode()
    if octets and set(octets) <= SAFE and octets[0] not in b" :<" and octets[-1] != 0x20:
        print(f"{name}: {octets.decode()}")
    else:
        print(f"{name}:: {base64.b64encode(octets).decode()}")


def entry(dn, classes, attributes):
    """One entry."""
    put("dn", dn)
    for name in classes:
        put("objectClass", name)
    for name, values in attributes.items():
        for value in values:
            put(name, value)
    print()


count, password_hash = int(sys.argv[1]), sys.argv[2]
entry(BASE, ("organization", "dcObject"), {"dc": [DOMAIN.split(".")[0]], "o": ["Corp Example"]})
units = {name: f"{rdn('ou', name)},{BASE}" for name in ("Staff", "Service Accounts", "Groups", "Contacts")}
for town, _, _ in TOWNS:
    units[town] = f"{rdn('ou', town)},{units['Staff']}"
for name, dn in units.items():
    entry(dn, ("organizationalUnit",), {"ou": [name]})
for name in SERVICE_ACCOUNTS:
    entry(f"{rdn('cn', name)},{units['Service Accounts']}", ("organizationalRole", "simpleSecurityObject"),
          {"cn": [name], "userPassword": [password_hash]})
known, members = {}, []
for number, someone in enumerate(people(count)):
    attributes = dict(someone["attributes"])
    account = attributes["sAMAccountName"][0]
    dn = f"{rdn('cn', attributes['cn'][0])},{units[someone['unit']]}"
    attributes["uid"] = [account]
    attributes["userPrincipalName"] = [f"{account}@{DOMAIN}"]
    attributes["userAccountControl"] = ["514" if someone["disabled"] else "512"]
    if someone.get("password"):
        attributes["userPassword"] = [password_hash]
        known[account] = dn
    elif not someone["disabled"] and number % 10:
        members.append(dn)
    entry(dn, ("inetOrgPerson", "user"), attributes)
groups = {"UC-Users": members + [known["bob"], known["lockme"]], "UC-Admins": [known["alice"]]}
for name, dns in groups.items():
    entry(f"{rdn('cn', name)},{units['Groups']}", ("groupOfNames",), {"cn": [name], "member": dns})
