//! Names and numbers to ask for: from files, or from the server itself by one search before anything is measured.

use super::door::Door;
use super::line::{Line, malformed};
use super::question::Request;
use super::tally::{Mishap, Trouble};
use crate::ldap::ResultCode;
use crate::ldap::ber::{BerError, Reader, tag};
use crate::ldap::envelope::op;
use crate::ldap::filter::Filter;
use crate::ldap::message::{Scope, SearchRequest};
use std::path::Path;

/// What phones ask for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Vocabulary {
    /// To be typed.
    pub(super) names: Vec<String>,
    /// Of callers.
    pub(super) numbers: Vec<String>,
}

/// A first connection: it proves that the server is there, and asks what must be known.
pub(super) struct Scout {
    line: Line,
}

impl Scout {
    /// Connects, and binds where `bind` is given.
    pub(super) async fn arrive(door: &Door, bind: Option<&Request>) -> Result<Self, Mishap> {
        let memory = door.memory();
        let (mut line, _) = Box::pin(door.connect(0, memory.as_ref())).await?;
        if let Some(bind) = bind {
            let id = line.send(bind).await?;
            let code = line.result(id, op::BIND_RESPONSE).await?;
            if code != ResultCode::SUCCESS {
                return Err(Mishap::new(Trouble::Refused, format_args!("the bind: {code}")));
            }
        }
        Ok(Self { line })
    }

    /// The naming context that the rootDSE names first.
    pub(super) async fn base(&mut self) -> Result<Option<String>, Mishap> {
        let attributes = ["defaultNamingContext", "namingContexts"].map(str::to_owned);
        let mut found = [None, None];
        self.search("", Scope::BaseObject, "objectClass", &attributes, |description, value| {
            for (found, attribute) in found.iter_mut().zip(&attributes) {
                if found.is_none() && attribute.eq_ignore_ascii_case(description) {
                    *found = Some(value.to_owned());
                }
            }
        })
        .await?;
        Ok(found.into_iter().flatten().find(|base| !base.is_empty()))
    }

    /// The names and numbers of up to [`MOST`] people.
    pub(super) async fn vocabulary(&mut self, base: &str, names: &[String], numbers: &[String]) -> Result<Vocabulary, Mishap> {
        let mut learned = Vocabulary::default();
        let has = |attributes: &[String], description: &str| attributes.iter().any(|wanted| wanted.eq_ignore_ascii_case(description));
        let attributes = [names, numbers].concat();
        let present = names.first().map_or("objectClass", String::as_str);
        self.search(base, Scope::WholeSubtree, present, &attributes, |description, value| {
            if has(names, description) {
                learned.names.push(value.to_owned());
            } else if has(numbers, description) {
                learned.numbers.push(value.to_owned());
            }
        })
        .await?;
        Ok(learned)
    }

    /// Ends the connection.
    pub(super) async fn leave(self) {
        self.line.hang_up().await;
    }

    async fn search(
        &mut self,
        base: &str,
        scope: Scope,
        present: &str,
        attributes: &[String],
        mut each: impl FnMut(&str, &str),
    ) -> Result<(), Mishap> {
        let size_limit = if scope == Scope::BaseObject { 0 } else { MOST };
        let filter = Filter::Present(present.to_owned());
        let search = SearchRequest { size_limit, attributes: attributes.to_vec(), ..SearchRequest::new(base, scope, filter, &[]) };
        let id = self.line.send(&Request::new(&search.encode())).await?;
        loop {
            let reply = self.line.reply(id).await?;
            let view = reply.view().map_err(malformed)?;
            if view.done()?.is_some() {
                return Ok(());
            }
            if view.op_tag == op::SEARCH_RESULT_ENTRY {
                read_values(view.content, &mut each).map_err(malformed)?;
            }
        }
    }
}

/// Each value that is text, with its attribute.
fn read_values(entry: &[u8], each: &mut impl FnMut(&str, &str)) -> Result<(), BerError> {
    let mut fields = Reader::new(entry);
    fields.expect(tag::OCTET_STRING)?;
    let mut attributes = Reader::new(fields.expect(tag::SEQUENCE)?.content);
    while !attributes.is_empty() {
        let mut attribute = Reader::new(attributes.expect(tag::SEQUENCE)?.content);
        let description = attribute.text(tag::OCTET_STRING)?;
        let mut values = Reader::new(attribute.expect(tag::SET)?.content);
        while !values.is_empty() {
            if let Ok(value) = values.expect(tag::OCTET_STRING)?.text() {
                each(description, value);
            }
        }
    }
    Ok(())
}

/// One a line; blank lines and those that begin with # do not count.
pub(super) fn read_list(file: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let lines: Vec<_> = listed(&text).map(str::to_owned).collect();
    if lines.is_empty() { Err(format!("{}: holds no line", file.display())) } else { Ok(lines) }
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Enough for searches that differ; every server gives as many without pages.
const MOST: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ldap::response::write_entry_op;

    #[test]
    fn a_list_is_its_lines() {
        assert_eq!(listed("# names\n Ada \n\nAlan\r\n").collect::<Vec<_>>(), ["Ada", "Alan"]);
    }

    #[test]
    fn values_that_are_no_text_are_passed_over() {
        let mut op = Vec::new();
        write_entry_op(&mut op, "cn=x", [("cn", vec![&b"Ada"[..], b"\xff"]), ("sn", vec![&b"L"[..]])]);
        let mut seen = Vec::new();
        let content = Reader::new(&op).element().unwrap().content;
        read_values(content, &mut |description, value| seen.push(format!("{description}={value}"))).unwrap();
        assert_eq!(seen, ["cn=Ada", "sn=L"]);
    }
}
