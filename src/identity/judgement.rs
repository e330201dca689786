//! What a BindResponse says about the password.
//!
//! invalidCredentials(49) alone says little: Active Directory uses it for a wrong password and for a right one whose account may not be used,
//! and tells them apart by a sub-code in the diagnosticMessage ("..., AcceptSecurityContext error, data 52e, v4563"). Only what is surely
//! about the password may be remembered; only what is surely not about it is not counted against the account.

use crate::ldap::ResultCode;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is that principal's.
    Right,
    /// It is not, or nobody has that name.
    Wrong,
    /// Refused for what the account is: disabled, expired, locked, not here or not now, the password to be changed.
    AccountState,
    /// Refused for a reason that is not known here: the server may have counted it as a wrong password.
    Unclear,
    /// Another result: the server did not get as far as the password.
    Nothing,
}

impl Judgement {
    /// Of a result's code and diagnosticMessage.
    pub(crate) fn of(code: ResultCode, diagnostic: &[u8]) -> Self {
        match code {
            ResultCode::SUCCESS => Self::Right,
            ResultCode::INVALID_CREDENTIALS => match sub_code(diagnostic) {
                SubCode::None => Self::Wrong,
                SubCode::Number(NO_SUCH_USER | WRONG_PASSWORD) => Self::Wrong,
                SubCode::Number(number) if ACCOUNT_STATES.contains(&number) => Self::AccountState,
                SubCode::Number(_) | SubCode::Unreadable => Self::Unclear,
            },
            _ => Self::Nothing,
        }
    }
}

/// Active Directory's reason.
#[derive(Debug, PartialEq, Eq)]
enum SubCode {
    /// None was given: not Active Directory.
    None,
    Number(u32),
    /// Active Directory's text, but not its number.
    Unreadable,
}

fn sub_code(diagnostic: &[u8]) -> SubCode {
    // A server that is not Active Directory may say anything else, in any language.
    let text = String::from_utf8_lossy(diagnostic);
    let Some((_, after)) = text.split_once("data ") else {
        return if text.contains("AcceptSecurityContext") || text.contains("LdapErr") { SubCode::Unreadable } else { SubCode::None };
    };
    let digits = after.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default();
    u32::from_str_radix(digits, 16).map_or(SubCode::Unreadable, SubCode::Number)
}

/// ERROR_NO_SUCH_USER, in hexadecimal as in the message.
const NO_SUCH_USER: u32 = 0x525;
/// ERROR_LOGON_FAILURE.
const WRONG_PASSWORD: u32 = 0x52e;
/// Not at this time (530), not from here (531), password expired (532), account disabled (533), account expired (701), password must be
/// changed (773), account locked (775).
const ACCOUNT_STATES: [u32; 7] = [0x530, 0x531, 0x532, 0x533, 0x701, 0x773, 0x775];

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(diagnostic: &str) -> Judgement {
        Judgement::of(ResultCode::INVALID_CREDENTIALS, diagnostic.as_bytes())
    }

    fn active_directory(data: &str) -> String {
        format!("80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data {data}, v4563\0")
    }

    #[test]
    fn only_wrong_password_and_no_such_user_are_about_the_password() {
        for data in ["52e", "525", "52E"] {
            assert_eq!(refused(&active_directory(data)), Judgement::Wrong, "{data}");
        }
        for data in ["530", "531", "532", "533", "701", "773", "775"] {
            assert_eq!(refused(&active_directory(data)), Judgement::AccountState, "{data}");
        }
        for data in ["0", "57", "52f", "8009030", "", "xyz", "52e52e52e52e"] {
            assert_eq!(refused(&active_directory(data)), Judgement::Unclear, "{data}");
        }
    }

    #[test]
    fn a_server_without_sub_codes_means_the_password() {
        assert_eq!(refused(""), Judgement::Wrong);
        assert_eq!(refused("Invalid credentials"), Judgement::Wrong);
    }

    #[test]
    fn active_directorys_text_without_a_number_is_unclear() {
        assert_eq!(refused("80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error"), Judgement::Unclear);
    }

    #[test]
    fn other_results_say_nothing_about_the_password() {
        for code in [1, 2, 3, 7, 8, 11, 19, 32, 34, 48, 50, 51, 52, 53, 80, 4096].map(ResultCode) {
            assert_eq!(Judgement::of(code, b"data 52e"), Judgement::Nothing, "{code:?}");
        }
        assert_eq!(Judgement::of(ResultCode::SUCCESS, b"data 52e"), Judgement::Right);
    }
}
