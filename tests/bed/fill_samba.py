"""Fills a Samba AD domain that has just been provisioned: usage fill_samba.py SMB_CONF COUNT.

Writes through ldb into the files, before the server runs. Needs Debian's python3-samba, hence /usr/bin/python3.
"""

import sys

import ldb
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB

from people import DOMAIN, PASSWORD, SERVICE_ACCOUNTS, TOWNS, people

NORMAL, DISABLED, NO_PASSWORD_NEEDED, NEVER_EXPIRES = 512, 2, 32, 65536
GLOBAL_SECURITY_GROUP = "-2147483646"

settings = LoadParm()
settings.load(sys.argv[1])
# Without batch_mode each add rewrites the index, and the time grows as the square of the number of entries.
database = SamDB(session_info=system_session(), lp=settings, options=["batch_mode:1"])
root = ldb.Dn(database, str(database.domain_dn()))


def below(parent, kind, value):
    """The DN of a child; ldb escapes what must be."""
    dn = ldb.Dn(database, f"{kind}=x")
    dn.set_component(0, kind, value)
    dn.add_base(parent)
    return dn


def add_user(parent, entry, extra):
    """Adds a user and returns its DN."""
    attributes = dict(entry["attributes"])
    account = attributes["sAMAccountName"][0]
    dn = below(parent, "CN", attributes.pop("cn")[0])
    control = NORMAL | NEVER_EXPIRES | extra
    message = {"dn": dn, "objectClass": "user", "userPrincipalName": f"{account}@{DOMAIN}"}
    message.update(attributes)
    if entry.get("password"):
        message["unicodePwd"] = f'"{PASSWORD}"'.encode("utf-16-le")
    else:
        control |= NO_PASSWORD_NEEDED
    message["userAccountControl"] = str(control)
    database.add(message)
    return dn


def add_group(name, members):
    """Adds a group and returns its DN."""
    dn = below(units["Groups"], "CN", name)
    database.add({"dn": dn, "objectClass": "group", "sAMAccountName": name, "groupType": GLOBAL_SECURITY_GROUP})
    message = ldb.Message(dn)
    message["member"] = ldb.MessageElement([str(member) for member in members], ldb.FLAG_MOD_ADD, "member")
    database.modify(message)
    return dn


database.transaction_start()
units = {name: below(root, "OU", name) for name in ("Staff", "Service Accounts", "Groups", "Contacts")}
for town, _, _ in TOWNS:
    units[town] = below(units["Staff"], "OU", town)
for dn in units.values():
    database.add({"dn": dn, "objectClass": "organizationalUnit"})
service = [
    add_user(units["Service Accounts"], {"password": True, "attributes": {"cn": [name], "sAMAccountName": [name]}}, 0)
    for name in SERVICE_ACCOUNTS
]
known, members = {}, []
for number, entry in enumerate(people(int(sys.argv[2]))):
    dn = add_user(units[entry["unit"]], entry, DISABLED if entry["disabled"] else 0)
    if entry.get("password"):
        known[entry["attributes"]["sAMAccountName"][0]] = dn
    elif not entry["disabled"] and number % 10:
        members.append(dn)
    if number % 40 == 5:
        attributes = {name: values for name, values in entry["attributes"].items() if name in ("givenName", "sn", "telephoneNumber")}
        cn = f"{entry['attributes']['cn'][0]} (extern)"
        database.add({"dn": below(units["Contacts"], "CN", cn), "objectClass": "contact", "company": "Lieferant & Partner", **attributes})
database.transaction_commit()

database.transaction_start()
users = add_group("UC-Users", members + [known["bob"], known["lockme"]])
admins = add_group("UC-Admins", [known["alice"]])
add_group("UC-All", [users, admins])
add_group("Phonebook-Readers", service)
database.transaction_commit()
