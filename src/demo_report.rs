//! What the demonstration tells: a line a step for people, one value at the end for programs.

use std::path::Path;

use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;
use crate::stopwatch::Stopwatch;

/// One step, as it happened.
#[derive(Debug, Serialize)]
struct Step {
    step: &'static str,
    text: String,
    ms: f64,
}

/// What was found at the end.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Records in the audit log.
    pub log_records: u64,
}

#[derive(Serialize)]
struct Whole<'a> {
    steps: &'a [Step],
    total_ms: f64,
    #[serde(flatten)]
    summary: &'a Summary,
    data_dir: &'a Path,
}

/// The report of one demonstration.
pub struct Report {
    output: Output,
    steps: Vec<Step>,
    begun: Stopwatch,
    summary: Summary,
}

impl Report {
    /// Begins a report.
    pub fn new(output: Output) -> Self {
        Self {
            output,
            steps: Vec::new(),
            begun: Stopwatch::start(),
            summary: Summary::default(),
        }
    }

    /// A step has been done.
    pub fn step(
        &mut self,
        step: &'static str,
        text: &str,
        watch: Stopwatch,
    ) -> Result<(), Failure> {
        let ms = watch.elapsed_ms();
        if !self.output.is_json() {
            self.output
                .text(&format!("{step:<8} {ms:>8.1} ms  {text}"))?;
        }
        self.steps.push(Step {
            step,
            text: text.to_owned(),
            ms,
        });
        Ok(())
    }

    /// Something worth knowing beside the steps.
    pub fn aside(&self, text: &str) {
        if !self.output.is_json() {
            self.output.aside(&format!("                      {text}"));
        }
    }

    /// What was found at the end.
    pub fn summary(&mut self, summary: Summary) {
        self.summary = summary;
    }

    /// Ends the report.
    pub fn end(&self, data_dir: &Path, stays: bool) -> Result<(), Failure> {
        let total_ms = self.begun.elapsed_ms();
        let whole = Whole {
            steps: &self.steps,
            total_ms,
            summary: &self.summary,
            data_dir,
        };
        self.output.answer(&whole, || {
            let ended = format!(
                "Done in {:.2} s. Every step above ran for real.",
                total_ms / 1000.0
            );
            if !stays {
                return format!("{ended} The home has been deleted.");
            }
            let home = data_dir.display();
            format!(
                "{ended} The home stays until you press Ctrl-C. Use it from another terminal:\n\
                 hearthkey --data-dir {home} device list"
            )
        })
    }
}
