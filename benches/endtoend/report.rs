//! From samples to figures, and what they are over the floor's; and the table.

use std::collections::HashMap;

use crate::figures::{Spread, figure, markdown};
use crate::servers::Subject;
use crate::work::{Sample, Work};

/// All samples of a run.
#[derive(Debug, Default)]
pub(crate) struct Results(HashMap<(Work, Subject), Vec<Sample>>);

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
