//! The parameters behind a path: what an HTML form writes, and `curl --data-urlencode`.

use super::refused::Refused;

/// The parameters of one request.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// As they were written.
    ///
    /// # Errors
    /// When it is something else.
    pub(super) fn parse(text: &str) -> Result<Self, Refused> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let decoded = |pair: &str| pair.split_once('=').and_then(|(name, value)| Some((decoded(name)?, decoded(value)?)));
        let pairs = pairs.map(decoded).collect::<Option<_>>().map(Self);
        pairs.ok_or_else(|| Refused::bad("the query is not made of NAME=VALUE, percent-encoded UTF-8"))
    }

    /// The values of these parameters, where they are there. No other may be: whoever misspells one must not drop everything.
    ///
    /// # Errors
    /// When another is there, an empty one, or one twice.
    pub(super) fn values<const N: usize>(&self, names: [&str; N]) -> Result<[Option<&str>; N], Refused> {
        let mut values = [None; N];
        for (given, value) in &self.0 {
            let place = names.iter().zip(&mut values).find(|(name, _)| *name == given);
            match place {
                Some((_, place @ None)) if !value.is_empty() => *place = Some(value.as_str()),
                _ => return Err(Refused::bad("an unknown parameter, an empty one, or one twice")),
            }
        }
        Ok(values)
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut octets = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(octet) = octets.next() {
        out.push(match octet {
            b'%' => {
                let mut digit = || char::from(octets.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_as_forms_write_it() {
        let name = |text: &str| Query::parse(text).ok()?.values(["name", "x"]).ok().map(|[name, _]| name.map(str::to_owned));
        assert_eq!(name(""), Some(None));
        assert_eq!(name("name=CN%3DAda+L%2cDC%3Dcorp"), Some(Some("CN=Ada L,DC=corp".to_owned())));
        assert_eq!(name("x=1&name=CORP%5cada"), Some(Some("CORP\\ada".to_owned())));
        for wrong in ["name", "name=", "name=a&name=b", "names=a", "name=%", "name=%zz", "name=%ff", "name=a&y=b"] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }
}
