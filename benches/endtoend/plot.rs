//! Drawings: bars and lines as SVG, written by hand. They bring a paper of their own, light or dark as the reader likes,
//! so that they are readable on any page.

use std::fmt::{self, Write as _};

use crate::figures::{Spread, figure, grouped};

const WIDTH: f64 = 760.0;
const MARGIN: f64 = 20.0;
/// Of the title, and the line below it that says what is drawn.
const HEAD: f64 = 64.0;

/// Text, rules and one colour a subject; the colours are told apart by those who see fewer of them, too.
const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #1f2328 } \
.title { font-size: 16px; font-weight: 600 } \
.quiet { font-size: 12px; fill: #59636e } \
.paper { fill: #ffffff } \
.rule { stroke: #d1d9e0 } \
.one { stroke: #59636e; stroke-dasharray: 4 3 } \
.spread { stroke: #1f2328; stroke-opacity: .6 } \
.line { fill: none; stroke-width: 2 } \
.grey { --c: #6e7781 } .blue { --c: #0969da } .orange { --c: #bc4c00 } .green { --c: #1a7f64 } \
.fill { fill: var(--c) } .line { stroke: var(--c) } \
@media (prefers-color-scheme: dark) { \
text { fill: #f0f6fc } .quiet { fill: #9198a1 } .paper { fill: #0d1117 } .rule { stroke: #3d444d } \
.one { stroke: #9198a1 } .spread { stroke: #f0f6fc } \
.grey { --c: #9198a1 } .blue { --c: #58a6ff } .orange { --c: #f0883e } .green { --c: #3fb99a } }";

/// What a bar or a line is for.
pub(crate) trait Subject: Copy + PartialEq + fmt::Display {
    /// Its colour, by the name that [`STYLE`] has for it.
    fn color(self) -> &'static str;
}

/// Puts a drawing onto its paper.
fn paper(height: f64, title: &str, subtitle: &str, subjects: &[impl Subject], body: &str) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"28\">{title}</text>\n\
         <text class=\"quiet\" x=\"{MARGIN}\" y=\"47\">{subtitle}</text>\n"
    );
    let mut x = MARGIN;
    for subject in subjects {
        let (class, y) = (subject.color(), HEAD + 2.0);
        let _ = writeln!(
            out,
            "<rect class=\"{class} fill\" x=\"{x}\" y=\"{y}\" width=\"11\" height=\"11\" rx=\"2\"/>\
             <text class=\"quiet\" x=\"{}\" y=\"{}\">{subject}</text>",
            x + 16.0,
            y + 10.0,
        );
        x += 42.0 + 6.4 * subject.to_string().len() as f64;
    }
    out + body + "</svg>\n"
}

/// Where figures stand along an axis.
#[derive(Clone, Copy, Debug)]
enum Scale {
    Linear { most: f64 },
    Log { least: f64, most: f64 },
}

impl Scale {
    /// From 0 at the least to 1 at the most.
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear { most } => value / most,
            Self::Log { least, most } => (value / least).ln() / (most / least).ln(),
        }
    }

    /// Figures that are round.
    fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear { most } => {
                let power = 10_f64.powf((most / 5.0).log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| most / step <= 6.0);
                let step = step.unwrap_or(most);
                (0..).map(|index| f64::from(index) * step).take_while(|tick| *tick <= most * 1.0001).collect()
            }
            Self::Log { least, most } => {
                let first = 10_f64.powf(least.log10().floor());
                let steps = (0..12).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * first * 10_f64.powi(power)));
                steps.filter(|tick| (least * 0.9999..=most * 1.0001).contains(tick)).collect()
            }
        }
    }
}

/// Groups of bars, a group for a kind of work: what each server takes over the floor, which is the line at 1. A bar that
/// is longer than the paper is cut at its edge, and only its figure says how long.
pub(crate) fn bars(title: &str, subtitle: &str, groups: &[(String, Vec<(impl Subject, Spread)>)]) -> String {
    const LABELS: f64 = 300.0;
    const BAR: f64 = 13.0;
    const PITCH: f64 = 17.0;
    const GAP: f64 = 12.0;
    const LONGEST: f64 = 4.0;
    let mut subjects = Vec::new();
    for (subject, _) in groups.iter().flat_map(|(_, bars)| bars) {
        if !subjects.contains(subject) {
            subjects.push(*subject);
        }
    }
    let most = groups.iter().flat_map(|(_, bars)| bars).map(|(_, spread)| spread.most).fold(1.0, f64::max);
    let scale = Scale::Linear { most: most.min(LONGEST) };
    let at = |value: f64| LABELS + scale.place(value).min(1.0) * (WIDTH - LABELS - MARGIN - 36.0);
    let top = HEAD + 36.0;
    let height_of = |bars: usize| bars as f64 * PITCH + GAP;
    let bottom = top + groups.iter().map(|(_, bars)| height_of(bars.len())).sum::<f64>();
    let mut body = String::new();
    for tick in scale.ticks() {
        let x = at(tick);
        let _ = writeln!(
            body,
            "<line class=\"rule\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\
             <text class=\"quiet\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
            bottom + 18.0,
        );
    }
    let mut y = top;
    for (name, bars) in groups {
        let middle = y + height_of(bars.len()) / 2.0;
        let _ = writeln!(body, "<text x=\"{MARGIN}\" y=\"{:.1}\">{name}</text>", middle + 4.0);
        for (index, (subject, spread)) in bars.iter().enumerate() {
            let y = y + GAP / 2.0 + index as f64 * PITCH + (PITCH - BAR) / 2.0;
            let (left, right, middle) = (at(0.0), at(spread.median), y + BAR / 2.0);
            let (least, most, text) = (at(spread.least), at(spread.most), at(spread.most) + 6.0);
            let _ = writeln!(
                body,
                "<rect class=\"{} fill\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>\
                 <line class=\"spread\" x1=\"{least:.1}\" x2=\"{most:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
                 <text class=\"quiet\" x=\"{text:.1}\" y=\"{:.1}\">{:.2}</text>",
                subject.color(),
                right - left,
                middle + 4.0,
                spread.median,
            );
        }
        y += height_of(bars.len());
    }
    let one = at(1.0);
    let _ = writeln!(
        body,
        "<line class=\"one\" x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\
         <text class=\"quiet\" x=\"{one:.1}\" y=\"{}\" text-anchor=\"middle\">floor</text>",
        top - 5.0,
    );
    paper(bottom + 32.0, title, subtitle, &subjects, &body)
}

/// What runs along the axes of [`lines`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axes<'a> {
    /// What grows to the right.
    pub(crate) x: &'a str,
    /// By factors, not by steps.
    pub(crate) x_log: bool,
    /// Likewise upwards, where the cost in microseconds stands.
    pub(crate) y_log: bool,
}

/// A line for each subject: how its cost in microseconds grows.
pub(crate) fn lines(
    title: &str,
    subtitle: &str,
    axes: Axes<'_>,
    series: &[(impl Subject, Vec<(usize, Spread)>)],
) -> String {
    const LEFT: f64 = 64.0;
    const AREA: f64 = 260.0;
    let top = HEAD + 36.0;
    let bottom = top + AREA;
    let points = || series.iter().flat_map(|(_, points)| points);
    let mut xs: Vec<usize> = points().map(|(x, _)| *x).collect();
    xs.sort_unstable();
    xs.dedup();
    let (Some(first), Some(last)) = (xs.first(), xs.last()) else { return String::new() };
    let most = points().map(|(_, spread)| spread.most).fold(0.0, f64::max);
    let least = points().map(|(_, spread)| spread.least).fold(most, f64::min);
    let x_scale = if axes.x_log {
        Scale::Log { least: *first as f64, most: *last as f64 }
    } else {
        Scale::Linear { most: *last as f64 }
    };
    let y_scale = if axes.y_log {
        Scale::Log { least: least / 1.3, most: most * 1.1 }
    } else {
        Scale::Linear { most: most * 1.05 }
    };
    let at_x = |x: usize| LEFT + x_scale.place(x as f64) * (WIDTH - LEFT - 2.0 * MARGIN);
    let at_y = |y: f64| bottom - y_scale.place(y) * AREA;
    let mut body = String::new();
    for tick in y_scale.ticks() {
        let y = at_y(tick);
        let _ = writeln!(
            body,
            "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"quiet\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - MARGIN,
            LEFT - 8.0,
            y + 4.0,
            // Round to the tick's own digits: 0.30000000000000004 is 0.3.
            (tick * 1000.0).round() / 1000.0,
        );
    }
    for x in &xs {
        let _ = writeln!(
            body,
            "<line class=\"rule\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{bottom}\" y2=\"{1}\"/>\
             <text class=\"quiet\" x=\"{0:.1}\" y=\"{2}\" text-anchor=\"middle\">{3}</text>",
            at_x(*x),
            bottom + 5.0,
            bottom + 19.0,
            grouped(*x),
        );
    }
    let _ = writeln!(
        body,
        "<text class=\"quiet\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
         <text class=\"quiet\" x=\"{MARGIN}\" y=\"{}\">µs</text>",
        f64::midpoint(LEFT, WIDTH - MARGIN),
        bottom + 38.0,
        axes.x,
        top - 4.0,
    );
    for (subject, points) in series {
        let class = subject.color();
        let line: Vec<String> =
            points.iter().map(|(x, spread)| format!("{:.1},{:.1}", at_x(*x), at_y(spread.median))).collect();
        let _ = writeln!(body, "<polyline class=\"{class} line\" points=\"{}\"/>", line.join(" "));
        for (x, spread) in points {
            let (x_at, least, most) = (at_x(*x), at_y(spread.least), at_y(spread.most));
            let _ = writeln!(
                body,
                "<line class=\"{class} line\" x1=\"{x_at:.1}\" x2=\"{x_at:.1}\" y1=\"{least:.1}\" y2=\"{most:.1}\"/>\
                 <circle class=\"{class} fill\" cx=\"{x_at:.1}\" cy=\"{:.1}\" r=\"3.5\">\
                 <title>{subject}, {}: {} µs</title></circle>",
                at_y(spread.median),
                grouped(*x),
                figure(spread.median),
            );
        }
    }
    let subjects: Vec<_> = series.iter().map(|(subject, _)| *subject).collect();
    paper(bottom + 52.0, title, subtitle, &subjects, &body)
}
