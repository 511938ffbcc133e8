//! Figures of several rounds: their median and spread, and how they are written. Knows nothing of what was measured.

use std::fmt::Write as _;

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
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let median = f64::midpoint(figures[(figures.len() - 1) / 2], figures[figures.len() / 2]);
        Some(Self { least, median, most })
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
pub(crate) fn markdown<const N: usize>(rows: &[[String; N]]) -> String {
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

/// A number with its thousands set apart.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
