//! From samples to figures: medians, what they are over the floor's, how far they spread; and the table.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::servers::Subject;
use crate::work::{Sample, Work};

/// All samples of a run.
#[derive(Debug, Default)]
pub(crate) struct Results(HashMap<(Work, Subject), Vec<Sample>>);

/// The median of some figures, and the least and the most of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    /// As small as it came.
    pub(crate) least: f64,
    /// In the middle; of an even number, the mean of the two there.
    pub(crate) median: f64,
    /// As large as it came.
    pub(crate) most: f64,
}

impl Spread {
    /// `None`: there are no figures.
    fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let median = f64::midpoint(figures[(figures.len() - 1) / 2], figures[figures.len() / 2]);
        Some(Self { least, median, most })
    }
}

impl Results {
    /// Takes a sample; those of one round must come before those of the next.
    pub(crate) fn add(&mut self, work: Work, subject: Subject, sample: Sample) {
        self.0.entry((work, subject)).or_default().push(sample);
    }

    fn samples(&self, work: Work, subject: Subject) -> &[Sample] {
        self.0.get(&(work, subject)).map_or(&[], Vec::as_slice)
    }

    /// CPU time for a unit of work, in microseconds.
    pub(crate) fn cost(&self, work: Work, subject: Subject) -> Option<Spread> {
        Spread::of(self.samples(work, subject).iter().map(|sample| sample.micros))
    }

    /// CPU time over that of the floor in the same round.
    pub(crate) fn ratio(&self, work: Work, subject: Subject) -> Option<Spread> {
        let floor = self.samples(work, Subject::Floor).iter();
        Spread::of(self.samples(work, subject).iter().zip(floor).map(|(sample, floor)| sample.micros / floor.micros))
    }

    /// Memory for a connection, in bytes.
    fn memory(&self, work: Work, subject: Subject) -> Option<Spread> {
        Spread::of(self.samples(work, subject).iter().filter_map(|sample| sample.bytes))
    }

    /// The table, in Markdown, as far as there are samples.
    pub(crate) fn table(&self, works: &[Work]) -> String {
        let mut rows = vec![["work", "server", "CPU, µs", "over the floor", "min to max"].map(str::to_owned)];
        let mut memory = vec![["memory", "server", "bytes", "", "min to max"].map(str::to_owned)];
        for work in works {
            for subject in work.subjects() {
                let (Some(cost), Some(ratio)) = (self.cost(*work, *subject), self.ratio(*work, *subject)) else {
                    continue;
                };
                let is_floor = *subject == Subject::Floor;
                let name = if is_floor { work.to_string() } else { String::new() };
                let over = if is_floor { String::new() } else { format!("{:.2}", ratio.median) };
                let spread = if is_floor {
                    format!("{} to {} µs", figure(cost.least), figure(cost.most))
                } else {
                    format!("{:.2} to {:.2}", ratio.least, ratio.most)
                };
                rows.push([name, subject.to_string(), figure(cost.median), over, spread]);
                if let Some(bytes) = self.memory(*work, *subject) {
                    let name = if is_floor { format!("an idle client, after the {work}") } else { String::new() };
                    let spread = format!("{:.0} to {:.0}", bytes.least, bytes.most);
                    memory.push([name, subject.to_string(), format!("{:.0}", bytes.median), String::new(), spread]);
                }
            }
        }
        let mut out = markdown(&rows);
        if memory.len() > 1 {
            out.push('\n');
            out.push_str(&markdown(&memory));
        }
        out
    }
}

/// Three digits that count.
pub(crate) fn figure(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Rows as a table whose columns line up; the first row is its head.
fn markdown<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string can't fail.
            let _ = write!(out, "| {cell:width$} ");
        }
        out.push_str("|\n");
        if index == 0 {
            widths.iter().for_each(|width| out.extend(["|", &"-".repeat(width + 2)]));
            out.push_str("|\n");
        }
    }
    out
}
