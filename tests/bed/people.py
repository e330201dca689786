"""The people of the test directories: the same ones every time, for Samba and for slapd.

person(i) depends on i alone, so a larger directory only has more of them. Names come from many scripts, some with commas and
umlauts in their DN; numbers come in the formats that grown directories hold. The texts that the phones of
tests/corpus/phone-searches.jsonl type ("smi", "mue", "03012345", "5551212" ...) find somebody.
"""

import hashlib

PASSWORD = "Phone.Passw0rd"
DOMAIN = "corp.example"

GIVEN = (
    "John Joanna Ada Iva Anna Jürgen Björn Chloé Dörte Emre Françoise Günther Håkon Inès Jörg Käthe Łukasz Małgorzata Núria "
    "Øystein Peter Renée Søren Tomáš Ursula Věra Zoë O'Neil Jean-Luc Ana-María Иван Ольга 健 美咲 Αλέξανδρος محمد נועה Nguyễn"
).split()
SURNAMES = (
    "Smith Smirnow Müller Mueller Schmidt Meier Lange Abel Nowak Becker Carlsson Schlatter Schäfer Groß Weiß Öztürk Çelik "
    "Yılmaz Şahin Wójcik Dvořák Jørgensen Ångström García Núñez D'Angelo O'Brien MacLeod Smith-Jones Lefèvre Müller-Lüdenscheidt "
    "Иванов Петрова 田中 山本 Παπαδόπουλος العربي לוי"
).split()
# Town (an organizational unit below Staff), country code and area code of its numbers.
TOWNS = (("Berlin", "49", "30"), ("München", "49", "89"), ("Zürich", "41", "44"), ("Gdańsk", "48", "58"), ("London", "44", "20"))
DEPARTMENTS = ("Vertrieb", "Einkauf", "Forschung & Entwicklung", "IT", "Geschäftsführung", "Legal, Risk", "Finance")
COMPANIES = ("Corp Example AG", "Müller & Söhne GmbH", "Beispiel <Test> KG", "Smithson Ltd")

# People with known names: cn, account, given name, surname, telephoneNumber, ipPhone.
KNOWN = (
    ("Alice Test", "alice", "Alice", "Test", "+49 30 5550-100", "100"),
    ("Bob Test", "bob", "Bob", "Test", "+49 30 5550-101", "101"),
    ("Lockme Test", "lockme", "Lockme", "Test", "+49 30 5550-102", "102"),
    ("Jörg Übel, Dr.", "uebel", "Jörg", "Übel", "1234567", "103"),
)
SERVICE_ACCOUNTS = ("svc-redial", "svc-limited", "svc-phones")


def pick(i, field, choices):
    """One of the choices, decided by i and the field's name."""
    return choices[draw(i, field) % len(choices)]


def draw(i, field):
    """A number from 0 to 2^32-1, decided by i and the field's name."""
    return int.from_bytes(hashlib.sha256(f"{field}/{i}".encode()).digest()[:4], "big")


def telephone_number(i, country, area):
    """The main number, in one of the formats that are found side by side in directories."""
    exchange, extension = f"{2000 + draw(i, 'exchange') % 7000}", f"{1000 + i % 9000}"
    formats = (
        f"+{country} {area} {exchange}-{extension}",
        f"+{country} {area} {exchange}-{extension}",
        f"+{country} {area} {exchange}-{extension}",
        f"+{country} ({area}) {exchange} {extension}",
        f"+{country}{area}{exchange}{extension}",
        f"+{country} (0){area} / {exchange} - {extension}",
        f"0{area} {exchange}-{extension}",
        f"00{country}-{area}-{exchange}-{extension}",
        f"03012345{i % 1000:03}",
        f"0301234567{i % 100:02}",
        f"49301234{i % 100:02}",
        f"401{i % 100:02}",
        f"+1 310 5551212-{i % 100:02}",
        extension,
    )
    return formats[i % len(formats)]


def person(i):
    """The attributes of person i: name to list of values, in Active Directory's names. `unit` and `disabled` are ours."""
    given, surname = pick(i, "given", GIVEN), pick(i, "surname", SURNAMES)
    town, country, area = pick(i, "town", TOWNS)
    account = f"person{i}"
    attributes = {
        "cn": [f"{surname}, {given} {i}" if i % 3 == 0 else f"{given} {surname} {i}"],
        "sAMAccountName": [account],
        "givenName": [given],
        "sn": [surname],
        "displayName": [f"{surname}, {given}" if i % 2 else f"{given} {surname}"],
        "mail": [f"{pick(i, 'mail', ('john', 'joe', 'info', 'person'))}.{i}@{DOMAIN}"],
        "department": [pick(i, "department", DEPARTMENTS)],
        "company": [pick(i, "company", COMPANIES)],
        "l": [town],
        "employeeNumber": [f"{100000 + i}"],
    }
    if i % 30:
        attributes["telephoneNumber"] = [telephone_number(i, country, area)]
    if i % 3:
        attributes["mobile"] = [f"+{country} 17{draw(i, 'mobile') % 10} {1000000 + draw(i, 'subscriber') % 9000000}"]
    if i % 5:
        attributes["ipPhone"] = [f"{1000 + i}"]
    if i % 11 == 0:
        attributes["homePhone"] = [f"+{country} {area} {100000 + draw(i, 'home') % 900000}"]
    if i % 7 == 0:
        # Neither ascending nor descending: whoever sorts the values is found out.
        attributes["otherTelephone"] = [f"+{country} {area} {n}{i}" for n in (55, 11, 33)]
    if i % 13 == 0:
        attributes["o"] = [pick(i, "o", COMPANIES)]
    if i % 100 == 42:
        attributes["thumbnailPhoto"] = [photo(i)]
    return {"unit": town, "disabled": i % 17 == 0, "attributes": attributes}


def photo(i):
    """Octets that begin like a JPEG and hold every octet there is."""
    return b"\xff\xd8\xff\xe0" + bytes(range(256)) * (1 + i % 12)


def people(count):
    """The known people, then `count` others."""
    for cn, account, given, surname, telephone, extension in KNOWN:
        attributes = {"cn": cn, "sAMAccountName": account, "givenName": given, "sn": surname, "displayName": f"{given} {surname}",
                      "telephoneNumber": telephone, "ipPhone": extension, "mail": f"{account}@{DOMAIN}"}
        attributes = {name: [value] for name, value in attributes.items()}
        if account == "uebel":
            attributes["thumbnailPhoto"] = [photo(7)]
            attributes["otherTelephone"] = ["+49 30 300", "+49 30 100", "+49 30 200"]
        yield {"unit": "Berlin", "disabled": False, "password": True, "attributes": attributes}
    for i in range(count):
        yield person(i)
