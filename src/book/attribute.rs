//! What is known of attribute types without a schema: other names, how values compare, what stays hidden (RFC 4512 section 2.5, RFC 4519).
//!
//! Names compare without case. A type that is in none of these tables is text that ignores case, which is right for nearly
//! everything in a phonebook.

/// An attribute description in the form in which it compares: type and options, folded (RFC 4512 section 2.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Description {
    /// The type by its best-known name, in lower case.
    pub(super) kind: String,
    /// The options in lower case, in order, each once.
    pub(super) options: Vec<String>,
}

impl Description {
    /// Folds a description as it was written. It need not be well-formed: what is not is merely unknown.
    pub(super) fn fold(written: &str) -> Self {
        let mut parts = written.split(';');
        let kind = best_name(parts.next().unwrap_or_default()).to_ascii_lowercase();
        let mut options: Vec<_> = parts.map(str::to_ascii_lowercase).collect();
        options.sort_unstable();
        options.dedup();
        Self { kind, options }
    }

    /// Values of `other` are values of this one too: the same type, with at least these options.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.kind == other.kind && self.options.iter().all(|option| other.options.contains(option))
    }

    /// How its values compare.
    pub(super) fn matching(&self) -> Matching {
        if self.options.iter().any(|option| option == "binary") || contains(&OPAQUE, &self.kind) {
            Matching::Opaque
        } else if contains(&NUMBERS, &self.kind) {
            Matching::Number
        } else if contains(&NAMES, &self.kind) {
            Matching::Name
        } else if contains(&OCTETS, &self.kind) {
            Matching::Octets
        } else {
            Matching::Text
        }
    }

    /// Returned only where it is asked for by name or by `+` (RFC 3673).
    pub(super) fn is_operational(&self) -> bool {
        contains(&OPERATIONAL, &self.kind)
    }

    /// Never kept, so that no filter, compare or list of attributes can bring it out.
    pub(super) fn is_secret(&self) -> bool {
        contains(&SECRET, &self.kind) || SECRET_PREFIXES.iter().any(|prefix| self.kind.starts_with(prefix))
    }
}

/// How the values of an attribute compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matching {
    /// caseIgnoreMatch and its kin.
    Text,
    /// telephoneNumberMatch: blanks and hyphens do not count, as in OpenLDAP; Active Directory counts them.
    Number,
    /// distinguishedNameMatch: equality alone.
    Name,
    /// octetStringMatch: equality alone.
    Octets,
    /// No match but presence: photographs, certificates.
    Opaque,
}

/// The name under which a type is kept and returned: its other names and its OID lead there, any other name is its own.
pub(super) fn best_name(written: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(written)).map_or(written, |(_, name)| name)
}

/// A well-formed attribute description (RFC 4512 section 2.5): a name or an OID, and options.
pub(super) fn is_well_formed(written: &str) -> bool {
    let mut parts = written.split(';');
    let kind = parts.next().unwrap_or_default().as_bytes();
    let keychar = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
    let name = kind.first().is_some_and(u8::is_ascii_alphabetic) && kind.iter().all(|octet| keychar(octet) || *octet == b'_');
    let oid = !kind.is_empty() && kind.split(|octet| *octet == b'.').all(|arc| !arc.is_empty() && arc.iter().all(u8::is_ascii_digit));
    (name || oid) && parts.all(|option| !option.is_empty() && option.bytes().all(|octet| keychar(&octet)))
}

fn contains(table: &[&str], kind: &str) -> bool {
    table.contains(&kind)
}

/// Other names, and the OIDs of what phones ask for.
const ALIASES: [(&str, &str); 38] = [
    ("commonName", "cn"),
    ("2.5.4.3", "cn"),
    ("surname", "sn"),
    ("2.5.4.4", "sn"),
    ("gn", "givenName"),
    ("2.5.4.42", "givenName"),
    ("countryName", "c"),
    ("2.5.4.6", "c"),
    ("friendlyCountryName", "co"),
    ("localityName", "l"),
    ("2.5.4.7", "l"),
    ("stateOrProvinceName", "st"),
    ("2.5.4.8", "st"),
    ("streetAddress", "street"),
    ("2.5.4.9", "street"),
    ("organizationName", "o"),
    ("2.5.4.10", "o"),
    ("organizationalUnitName", "ou"),
    ("2.5.4.11", "ou"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.20", "telephoneNumber"),
    ("fax", "facsimileTelephoneNumber"),
    ("2.5.4.23", "facsimileTelephoneNumber"),
    ("domainComponent", "dc"),
    ("0.9.2342.19200300.100.1.25", "dc"),
    ("userid", "uid"),
    ("0.9.2342.19200300.100.1.1", "uid"),
    ("rfc822Mailbox", "mail"),
    ("0.9.2342.19200300.100.1.3", "mail"),
    ("homeTelephoneNumber", "homePhone"),
    ("0.9.2342.19200300.100.1.20", "homePhone"),
    ("mobileTelephoneNumber", "mobile"),
    ("0.9.2342.19200300.100.1.41", "mobile"),
    ("pagerTelephoneNumber", "pager"),
    ("0.9.2342.19200300.100.1.42", "pager"),
    ("favouriteDrink", "drink"),
    ("2.5.4.0", "objectClass"),
];

/// Telephone numbers.
const NUMBERS: [&str; 11] = [
    "telephonenumber",
    "mobile",
    "homephone",
    "facsimiletelephonenumber",
    "pager",
    "ipphone",
    "othertelephone",
    "othermobile",
    "otherhomephone",
    "otheripphone",
    "otherfacsimiletelephonenumber",
];

/// Values that are distinguished names.
const NAMES: [&str; 16] = [
    "manager",
    "secretary",
    "assistant",
    "seealso",
    "owner",
    "roleoccupant",
    "member",
    "uniquemember",
    "memberof",
    "directreports",
    "managedby",
    "distinguishedname",
    "entrydn",
    "creatorsname",
    "modifiersname",
    "subschemasubentry",
];

/// Values that are octets.
const OCTETS: [&str; 2] = ["objectguid", "objectsid"];

/// Values that nobody searches.
const OPAQUE: [&str; 9] = [
    "jpegphoto",
    "thumbnailphoto",
    "thumbnaillogo",
    "photo",
    "audio",
    "usercertificate",
    "usersmimecertificate",
    "userpkcs12",
    "cacertificate",
];

/// What servers keep for themselves and export with `slapcat` and the like.
const OPERATIONAL: [&str; 17] = [
    "createtimestamp",
    "modifytimestamp",
    "creatorsname",
    "modifiersname",
    "structuralobjectclass",
    "governingstructurerule",
    "subschemasubentry",
    "hassubordinates",
    "numsubordinates",
    "entryuuid",
    "entrycsn",
    "entrydn",
    "contextcsn",
    "nsuniqueid",
    "memberof",
    "pwdchangedtime",
    "pwdpolicysubentry",
];

/// Passwords, keys and what they are derived from.
const SECRET: [&str; 20] = [
    "userpassword",
    "unicodepwd",
    "authpassword",
    "dbcspwd",
    "ntpwdhistory",
    "lmpwdhistory",
    "pwdhistory",
    "pwdreset",
    "supplementalcredentials",
    "clearpassword",
    "initialauthincoming",
    "initialauthoutgoing",
    "trustauthincoming",
    "trustauthoutgoing",
    "currentvalue",
    "priorvalue",
    "ntsecuritydescriptor",
    "msds-keycredentiallink",
    "olcrootpw",
    "userpkcs12",
];

/// The same, by families of names.
const SECRET_PREFIXES: [&str; 7] =
    ["krb", "sambantpassword", "sambalmpassword", "sambapasswordhistory", "ms-mcs-adm", "mslaps-", "msds-managedpassword"];

#[cfg(test)]
mod tests {
    use super::{Description, Matching, is_well_formed};

    #[test]
    fn other_names_and_oids_lead_to_the_best_known_name() {
        for (written, kind) in
            [("GN", "givenname"), ("Surname", "sn"), ("2.5.4.3", "cn"), ("telephoneNUMBER", "telephonenumber"), ("x-foo", "x-foo")]
        {
            assert_eq!(Description::fold(written).kind, kind);
        }
    }

    #[test]
    fn a_description_covers_those_with_more_options() {
        let covers = |one: &str, other: &str| Description::fold(one).covers(&Description::fold(other));
        assert!(covers("cn", "CN;lang-de"));
        assert!(covers("cn;lang-de", "cn;x-a;LANG-DE"));
        assert!(!covers("cn;lang-de", "cn"));
        assert!(!covers("cn", "sn;lang-de"));
    }

    #[test]
    fn binary_transfer_makes_any_type_opaque() {
        assert_eq!(Description::fold("cn;binary").matching(), Matching::Opaque);
        assert_eq!(Description::fold("IpPhone").matching(), Matching::Number);
        assert_eq!(Description::fold("uidNumber").matching(), Matching::Text);
    }

    #[test]
    fn descriptions_are_names_or_oids_with_options() {
        for good in ["cn", "ms-DS_x", "2.5.4.3", "cn;lang-de;x-a"] {
            assert!(is_well_formed(good), "{good}");
        }
        for bad in ["", "-cn", "c n", "2..5", "cn;", "cn;ö", "ö", "3cn"] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }
}
