//! A user's many names are one principal, because the controller says so.

use crate::bed::{self, PASSWORD};
use crate::binds::wrong_passwords;
use crate::redial::Setup;
use redial::ldap::ResultCode;

#[test]
fn wrong_passwords_by_dn_upn_and_down_level_name_count_together() {
    let server = bed::samba();
    let redial = Setup::before(server).start();
    let names = ["CN=Jörg Übel\\, Dr.,OU=Berlin,OU=Staff,DC=corp,DC=example", "uebel@corp.example", "CORP\\uebel"];
    for name in names {
        assert_eq!(redial.connect().bind(name, PASSWORD).code, ResultCode::SUCCESS, "{name}");
    }
    for (number, name) in names.iter().cycle().take(6).enumerate() {
        assert_eq!(redial.connect().bind(name, &format!("wrong {number}")).code, ResultCode::INVALID_CREDENTIALS, "{name}");
    }
    assert_eq!(wrong_passwords(server, "uebel"), 3);
    let (_, metrics) = redial.http("/metrics").expect("metrics");
    assert!(metrics.contains("redial_lockout_guarded_principals 1"), "{metrics}");
    // Binds at the controller itself: not locked, though its policy locks after five.
    server.direct_as("uebel@corp.example", PASSWORD);
}
