//! The report as a picture (SVG): latency over percentiles, and operations in each second.

use super::numbers::{decimal, grouped, time};
use super::report::Report;
use super::tally::Step;
use std::fmt::Write;

/// A whole SVG file.
pub(super) fn svg(report: &Report) -> String {
    let mut out = format!(
        concat!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" "##,
            r##"font-family="sans-serif" font-size="12" fill="#333">"##,
            "\n",
            r##"<rect width="{w}" height="{h}" fill="#fff"/>"##,
            "\n"
        ),
        w = WIDTH,
        h = HEIGHT
    );
    text(&mut out, LEFT, 24.0, "start", &format!("{}: {}, {}", report.url, report.scenario, report.manner));
    let sum = format!("{} operations, {} a second", grouped(report.tally.operations()), decimal(report.throughput()));
    text(&mut out, LEFT, 42.0, "start", &sum);
    draw_latencies(&mut out, report);
    draw_throughput(&mut out, report);
    out.push_str("</svg>\n");
    out
}

/// A curve for each step; both axes are logarithmic, so that the tail is seen.
fn draw_latencies(out: &mut String, report: &Report) {
    let shown: Vec<_> = Step::ALL.into_iter().filter(|step| !report.tally.latency(*step).is_empty()).collect();
    let least = shown.iter().map(|step| report.tally.latency(*step).min()).min().unwrap_or(1).max(1_000);
    let most = shown.iter().map(|step| report.tally.latency(*step).max()).max().unwrap_or(1).max(10_000);
    let (bottom_decade, top_decade) = ((least as f64).log10().floor(), (most as f64).log10().ceil());
    let y = |nanoseconds: f64| {
        let share = (nanoseconds.max(1.0).log10() - bottom_decade) / (top_decade - bottom_decade).max(1.0);
        CURVES.1 - share.clamp(0.0, 1.0) * (CURVES.1 - CURVES.0)
    };
    let mut decade = bottom_decade;
    while decade <= top_decade {
        let value = 10_f64.powf(decade);
        line(out, LEFT, y(value), RIGHT, y(value), "#ddd");
        text(out, LEFT - 6.0, y(value) + 4.0, "end", &time(value));
        decade += 1.0;
    }
    for (name, quantile) in [("0 %", 0.0), ("90 %", 0.9), ("99 %", 0.99), ("99.9 %", 0.999), ("99.99 %", 0.9999)] {
        line(out, across(quantile), CURVES.0, across(quantile), CURVES.1, "#ddd");
        text(out, across(quantile), CURVES.1 + 16.0, "middle", name);
    }
    for (step, place) in shown.iter().zip(0_u8..) {
        let histogram = report.tally.latency(*step);
        let points: Vec<_> = (0..=POINTS)
            .map(|point| 1.0 - 10_f64.powf(-DECADES * f64::from(point) / f64::from(POINTS)))
            .map(|quantile| format!("{:.1},{:.1}", across(quantile), y(histogram.value_at_quantile(quantile) as f64)))
            .collect();
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, r#"<polyline fill="none" stroke="{}" stroke-width="2" points="{}"/>"#, colour(*step), points.join(" "));
        let left = LEFT + 110.0 * f64::from(place);
        line(out, left, 60.0, left + 20.0, 60.0, colour(*step));
        text(out, left + 26.0, 64.0, "start", step.name());
    }
}

/// A bar for each second.
fn draw_throughput(out: &mut String, report: &Report) {
    let before = std::iter::once(0).chain(report.seconds.iter().copied());
    let bars: Vec<_> = report.seconds.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect();
    let most = bars.iter().copied().max().unwrap_or_default().max(1);
    text(out, LEFT, BARS.0 - 8.0, "start", &format!("operations in each second, at most {}", grouped(most)));
    line(out, LEFT, BARS.1, RIGHT, BARS.1, "#999");
    let width = (RIGHT - LEFT) / (bars.len().max(10) as f64);
    for (at, bar) in bars.iter().enumerate() {
        let height = *bar as f64 / most as f64 * (BARS.1 - BARS.0);
        let _ = writeln!(
            out,
            r#"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{height:.1}" fill="{}"/>"#,
            LEFT + width * at as f64,
            BARS.1 - height,
            width * 0.8,
            colour(Step::Operation)
        );
    }
}

/// Where a quantile stands: each nine takes as much room.
fn across(quantile: f64) -> f64 {
    let nines = -(1.0 - quantile).max(f64::MIN_POSITIVE).log10();
    LEFT + (nines / DECADES).clamp(0.0, 1.0) * (RIGHT - LEFT)
}

const fn colour(step: Step) -> &'static str {
    match step {
        Step::Operation => "#1f5fa8",
        Step::Connect => "#b8541a",
        Step::Bind => "#5a8a2b",
        Step::Search => "#8a4a9c",
    }
}

fn line(out: &mut String, x1: f64, y1: f64, x2: f64, y2: f64, stroke: &str) {
    let _ = writeln!(out, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{stroke}"/>"#);
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(out, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{escaped}</text>"#);
}

const WIDTH: u32 = 860;
const HEIGHT: u32 = 520;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 830.0;
/// Top and bottom of the curves.
const CURVES: (f64, f64) = (80.0, 340.0);
/// Top and bottom of the bars.
const BARS: (f64, f64) = (400.0, 500.0);
/// Up to 99.99 %.
const DECADES: f64 = 4.0;
const POINTS: u8 = 120;

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn there_is_a_curve_for_each_step_and_a_bar_for_each_second() {
        let mut report = report();
        report.manner = "<1 & 2>".to_owned();
        let picture = svg(&report);
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        assert_eq!(picture.matches("<polyline").count(), 2, "operation and connect");
        assert_eq!(picture.matches("<rect").count(), 1 + 4, "the ground and four seconds");
        assert!(picture.contains("&lt;1 &amp; 2&gt;"));
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
    }

    #[test]
    fn each_nine_takes_as_much_room() {
        let width = |from, to| across(to) - across(from);
        assert!((width(0.0, 0.9) - width(0.9, 0.99)).abs() < 0.1);
        assert!((across(1.0) - RIGHT).abs() < 0.1);
    }
}
