//! The table of faults as it is written: sections, rows and cells.

use std::fmt::Write;
use std::time::Duration;

/// A fault, and what clients meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) fault: String,
    pub(crate) about: String,
    /// By row, in the order of [`ROWS`]: one cell for each column.
    pub(crate) rows: Vec<Vec<Cell>>,
    pub(crate) ended: Ended,
}

/// What a client meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    /// The name of the resultCode.
    pub(crate) code: String,
    /// From where.
    pub(crate) served: String,
    /// How often the operation reaches a controller.
    pub(crate) reached: usize,
    pub(crate) within: Duration,
}

/// How all is well again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// With all controllers gone wrong: from the end of the fault to the first client that is served.
    pub(crate) served_within: Duration,
    /// With one gone wrong: from the end of the fault to its first search.
    pub(crate) asked_within: Duration,
}

/// What has gone wrong, and when the client asks.
pub(crate) const ROWS: [&str; 3] = ["one, at once", "one, later", "all, at once"];

/// Reads the table.
pub(crate) fn parse(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some((fault, about)) = line.strip_prefix('[').and_then(|line| line.split_once("] ")) {
            let ended = Ended { served_within: Duration::ZERO, asked_within: Duration::ZERO };
            sections.push(Section { fault: fault.to_owned(), about: about.to_owned(), rows: Vec::new(), ended });
            continue;
        }
        let section = sections.last_mut().unwrap_or_else(|| panic!("{line:?} stands before the first [fault]"));
        let mut fields = line.split('|').map(str::trim);
        let row = fields.next().unwrap_or_default();
        if row == "ended" {
            let mut times = fields.map(|field| duration(field.rsplit(' ').next().unwrap_or_default()));
            let [served_within, asked_within] = std::array::from_fn(|_| times.next().expect("two times"));
            section.ended = Ended { served_within, asked_within };
            continue;
        }
        assert_eq!(ROWS.get(section.rows.len()), Some(&row), "the rows of {} in their order", section.fault);
        section.rows.push(fields.map(cell).collect());
    }
    sections
}

/// Writes the table.
pub(crate) fn render(introduction: &str, columns: &[&str], sections: &[Section]) -> String {
    let mut out = introduction.to_owned();
    for section in sections {
        let _ = writeln!(out, "\n[{}] {}", section.fault, section.about);
        let header = columns.iter().map(|column| format!("| {column:<37}")).collect::<String>();
        let _ = writeln!(out, "#{:13}{}", "", header.trim_end());
        for (row, cells) in ROWS.iter().zip(&section.rows) {
            let cells = cells.iter().map(|cell| format!("| {:<37}", text(cell))).collect::<String>();
            let _ = writeln!(out, "{row:<14}{}", cells.trim_end());
        }
        let Ended { served_within, asked_within } = section.ended;
        let _ = writeln!(out, "{:<14}| served {} | asked {}", "ended", spelled(served_within), spelled(asked_within));
    }
    out
}

fn cell(text: &str) -> Cell {
    let words: Vec<&str> = text.split(' ').collect();
    let [code, served, reached, within] = words[..] else { panic!("{text:?} is no cell: code, served, times, within") };
    let reached = reached.strip_suffix('x').and_then(|times| times.parse().ok()).unwrap_or_else(|| panic!("{reached:?} in {text:?}"));
    Cell { code: code.to_owned(), served: served.to_owned(), reached, within: duration(within) }
}

fn text(cell: &Cell) -> String {
    format!("{} {} {}x {}", cell.code, cell.served, cell.reached, spelled(cell.within))
}

fn duration(text: &str) -> Duration {
    humantime::parse_duration(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn spelled(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}

/// The next longer of the times that the table uses.
pub(crate) fn rounded_up(took: Duration) -> Duration {
    let steps = [0, 100, 200, 500, 1_000, 1_500, 2_000, 3_000, 4_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000];
    steps.map(Duration::from_millis).into_iter().find(|step| took <= *step).expect("everything has a deadline")
}
