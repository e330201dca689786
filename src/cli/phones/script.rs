//! What phones ask, and when a person at one is faster than the server: decided beforehand, so that each run asks the same.

use super::question::{Manner, Question};
use clap::ValueEnum;
use std::collections::HashMap;

/// What phones do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// A search for each key of a name; some keys come before the answer and abandon it
    TypeAhead,
    /// Caller lookups: a ring group asks for the same number at once
    Caller,
    /// The whole directory, again and again
    Directory,
    /// Binds
    Bind,
    /// All connect at once: TLS, bind, one search, close
    BootStorm,
    /// 60 % type-ahead, 30 % caller lookups, 8 % binds, 2 % whole directories
    Mix,
}

impl Scenario {
    /// As on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TypeAhead => "type-ahead",
            Self::Caller => "caller",
            Self::Directory => "directory",
            Self::Bind => "bind",
            Self::BootStorm => "boot-storm",
            Self::Mix => "mix",
        }
    }

    /// Whether names are typed.
    pub(super) const fn needs_names(self) -> bool {
        matches!(self, Self::TypeAhead | Self::Mix)
    }

    /// Whether somebody calls.
    pub(super) const fn needs_numbers(self) -> bool {
        matches!(self, Self::Caller | Self::BootStorm | Self::Mix)
    }
}

/// What one phone does next: a bind, or a search, perhaps right behind another that nobody wants any more.
pub(super) struct Errand<'p> {
    /// Bind (again).
    pub(super) bind: bool,
    /// Sent, and abandoned at once.
    pub(super) overtaken: Option<&'p Question>,
    /// Sent, and its answer awaited.
    pub(super) search: Option<&'p Question>,
}

/// All questions there are.
pub(super) struct Plan {
    scenario: Scenario,
    prefixes: Vec<Question>,
    /// For each name, its prefixes.
    names: Vec<Vec<usize>>,
    numbers: Vec<Question>,
    everybody: Question,
    ring_group: u64,
    /// Of a hundred keys, those that come before the answer to the key before.
    hasty: u64,
}

impl Plan {
    /// Names and numbers may be empty where the scenario needs none.
    pub(super) fn new(scenario: Scenario, manner: &Manner, names: &[String], numbers: &[String], ring_group: u64, hasty: u64) -> Self {
        let mut plan = Self {
            scenario,
            prefixes: Vec::new(),
            names: Vec::new(),
            numbers: numbers.iter().map(|number| manner.number(number)).collect(),
            everybody: manner.everybody(),
            ring_group: ring_group.max(1),
            hasty,
        };
        let mut known = HashMap::new();
        for name in names {
            let keys = typed(name).map(|prefix| {
                *known.entry(prefix.to_lowercase()).or_insert_with(|| {
                    plan.prefixes.push(manner.prefix(prefix));
                    plan.prefixes.len() - 1
                })
            });
            let keys: Vec<_> = keys.collect();
            plan.names.extend(Some(keys).filter(|keys| !keys.is_empty()));
        }
        plan
    }

    /// Different searches.
    pub(super) fn questions(&self) -> usize {
        match self.scenario {
            Scenario::TypeAhead => self.prefixes.len(),
            Scenario::Caller | Scenario::BootStorm => self.numbers.len(),
            Scenario::Directory => 1,
            Scenario::Bind => 0,
            Scenario::Mix => self.prefixes.len() + self.numbers.len() + 1,
        }
    }

    fn caller(&self, call: u64) -> Option<&Question> {
        self.numbers.get(at(call, self.numbers.len()))
    }
}

/// One phone's way through the plan.
pub(super) struct Script<'p> {
    plan: &'p Plan,
    phone: u64,
    /// Names that were typed.
    typed: u64,
    /// Keys of the name that is being typed.
    keys: usize,
    pressed: u64,
}

impl<'p> Script<'p> {
    /// Each phone types other names.
    pub(super) const fn new(plan: &'p Plan, phone: u64) -> Self {
        Self { plan, phone, typed: 0, keys: 0, pressed: 0 }
    }

    /// What to do for the operation with this number, counted over all phones.
    pub(super) fn next(&mut self, operation: u64) -> Errand<'p> {
        let search = |search| Errand { bind: false, overtaken: None, search };
        let call = operation / self.plan.ring_group;
        match self.plan.scenario {
            Scenario::TypeAhead => self.key(),
            Scenario::Caller => search(self.plan.caller(call)),
            Scenario::Directory => search(Some(&self.plan.everybody)),
            Scenario::Bind => BIND,
            Scenario::BootStorm => Errand { bind: true, ..search(self.plan.caller(operation)) },
            Scenario::Mix => match scattered(operation) % 100 {
                0..60 => self.key(),
                60..90 => search(self.plan.caller(call)),
                90..98 => BIND,
                _ => search(Some(&self.plan.everybody)),
            },
        }
    }

    /// The next key, or two.
    fn key(&mut self) -> Errand<'p> {
        let first = self.prefix();
        let is_hasty = self.keys > 0 && scattered(self.phone ^ self.pressed << 32) % 100 < self.plan.hasty;
        if !is_hasty {
            return Errand { bind: false, overtaken: None, search: first };
        }
        Errand { bind: false, overtaken: first, search: self.prefix() }
    }

    /// The search of one key; behind the last key of a name comes the first of another.
    fn prefix(&mut self) -> Option<&'p Question> {
        let name = self.plan.names.get(at(scattered(self.phone) ^ scattered(self.typed), self.plan.names.len()))?;
        let question = self.plan.prefixes.get(*name.get(self.keys)?);
        self.pressed += 1;
        self.keys += 1;
        if self.keys == name.len() {
            self.keys = 0;
            self.typed += 1;
        }
        question
    }
}

/// What is on the wire while somebody types a name: "A", "Ad", "Ada". Nobody types much of it, and no search ends in a blank.
fn typed(name: &str) -> impl Iterator<Item = &str> {
    let name = name.trim();
    let ends = name.char_indices().map(|(at, c)| at + c.len_utf8()).take(MOST_KEYS);
    ends.filter_map(|end| name.get(..end)).filter(|prefix| !prefix.ends_with(char::is_whitespace))
}

/// An index below `length`, or 0.
fn at(number: u64, length: usize) -> usize {
    usize::try_from(number % (length as u64).max(1)).unwrap_or_default()
}

/// SplitMix64: neighbours become far apart.
const fn scattered(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const BIND: Errand<'static> = Errand { bind: true, overtaken: None, search: None };
/// Then the list on the display is short enough.
const MOST_KEYS: usize = 5;

#[cfg(test)]
mod tests {
    use super::super::question::tests::manner;
    use super::*;

    fn plan(scenario: Scenario, ring_group: u64, hasty: u64) -> Plan {
        let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        Plan::new(scenario, &manner(), &words("Ada, A Ö"), &words("17,18"), ring_group, hasty)
    }

    fn asked(plan: &Plan, operations: u64) -> Vec<(Option<&str>, Option<&str>)> {
        let mut script = Script::new(plan, 0);
        (0..operations)
            .map(|operation| script.next(operation))
            .map(|errand| (errand.overtaken.map(|question| question.text.as_str()), errand.search.map(|question| question.text.as_str())))
            .collect()
    }

    #[test]
    fn a_name_is_typed_key_by_key() {
        assert_eq!(typed(" A Ö").collect::<Vec<_>>(), ["A", "A Ö"]);
        assert_eq!(typed("Katharina").last(), Some("Katha"));
        assert_eq!(typed("  ").count(), 0);
        let plan = plan(Scenario::TypeAhead, 1, 0);
        // "A" is a key of both names.
        assert_eq!(plan.questions(), 4);
        let asked = asked(&plan, 12);
        assert!(asked.iter().all(|(overtaken, search)| overtaken.is_none() && search.is_some()));
        let behind_ad = asked.iter().position(|asked| asked.1 == Some("(|(cn=Ad*)(sn=Ad*))")).unwrap() + 1;
        assert_eq!(asked[behind_ad].1, Some("(|(cn=Ada*)(sn=Ada*))"));
    }

    #[test]
    fn a_hasty_person_abandons_each_search_but_the_last_of_a_name() {
        let plan = plan(Scenario::TypeAhead, 1, 100);
        let asked = asked(&plan, 12);
        assert!(asked.iter().all(|(_, search)| search.is_some()));
        assert!(asked.iter().any(|(overtaken, _)| overtaken.is_some()));
        for (overtaken, search) in asked {
            assert!(overtaken.is_none_or(|overtaken| overtaken.len() < search.unwrap().len()), "{overtaken:?} {search:?}");
        }
    }

    #[test]
    fn a_ring_group_asks_for_the_same_number() {
        let plan = plan(Scenario::Caller, 3, 0);
        let asked = asked(&plan, 9);
        let numbers: Vec<_> = asked.iter().map(|(_, search)| search.unwrap()).collect();
        assert_eq!(numbers[..3], ["(telephoneNumber=17)"; 3]);
        assert_eq!(numbers[3..6], ["(telephoneNumber=18)"; 3]);
        assert_eq!(numbers[6..], ["(telephoneNumber=17)"; 3]);
    }

    #[test]
    fn each_run_asks_the_same() {
        assert_eq!(asked(&plan(Scenario::Mix, 5, 20), 200), asked(&plan(Scenario::Mix, 5, 20), 200));
    }

    #[test]
    fn a_booting_phone_binds_and_searches() {
        let plan = plan(Scenario::BootStorm, 1, 0);
        let errand = Script::new(&plan, 0).next(0);
        assert!(errand.bind && errand.search.is_some() && errand.overtaken.is_none());
    }
}
