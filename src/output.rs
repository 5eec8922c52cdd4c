//! Where answers go: standard output for the answer, standard error for everything else.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use hearthkey_api::Problem;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// The way in which one command answers.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

/// What `--json` says of a failure.
#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a Problem,
}

impl Output {
    /// An output for people, or for programs.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a program reads the answer.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Whether a person sees the answer on a terminal.
    pub fn is_terminal(self) -> bool {
        !self.json && io::stdout().is_terminal()
    }

    /// Answers: with one JSON value, or with a text for people.
    pub fn answer(
        self,
        value: &impl Serialize,
        people: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.json {
            self.json_line(value)
        } else {
            self.text(&people())
        }
    }

    /// Writes one JSON value and ends the line.
    pub fn json_line(self, value: &impl Serialize) -> Result<(), Failure> {
        let mut line = Zeroizing::new(Vec::with_capacity(4096));
        serde_json::to_writer(&mut *line, value)
            .map_err(|error| Failure::writing(&io::Error::from(error)))?;
        line.push(b'\n');
        self.bytes(&line)
    }

    /// Writes a text for people, and ends its last line. Whatever could steer a terminal is shown
    /// instead of obeyed.
    pub fn text(self, text: &str) -> Result<(), Failure> {
        let text: Zeroizing<String> = Zeroizing::new(text.split('\n').map(visible).fold(
            String::with_capacity(text.len() + 1),
            |mut made, line| {
                made.push_str(&line);
                made.push('\n');
                made
            },
        ));
        self.bytes(text.as_bytes())
    }

    /// Writes bytes exactly as they are.
    pub fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::writing(&error))
    }

    /// Tells a person something beside the answer. A standard error that is gone stops nothing.
    pub fn aside(self, text: &str) {
        let shown: Vec<String> = text.split('\n').map(visible).collect();
        let _ = writeln!(io::stderr(), "{}", shown.join("\n"));
    }

    /// Tells a failure, and gives the exit code for it.
    pub fn failure(self, failure: &Failure) -> ExitCode {
        match failure {
            Failure::ReaderGone => ExitCode::SUCCESS,
            Failure::Answered { why, exit } => {
                if !self.json {
                    self.aside(why);
                }
                ExitCode::from(*exit)
            }
            Failure::Told { problem, exit } => {
                if !self.json {
                    self.aside(&format!(
                        "{}\n{}\n{}",
                        problem.title, problem.detail, problem.remedy
                    ));
                } else if self.json_line(&Refusal { error: problem }).is_err() {
                    self.aside(&problem.to_string());
                }
                ExitCode::from(*exit)
            }
        }
    }
}

/// A text in which control characters and changes of the writing direction are shown by their
/// numbers: names that devices choose are hostile, and a terminal obeys what it is sent.
pub fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                c.escape_unicode().to_string()
            }
            c if c.is_control() => c.escape_unicode().to_string(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_steer_a_terminal_is_shown_and_not_obeyed() {
        assert_eq!(
            visible("a\x1b[2Jb\nc\u{202e}d\u{9b}"),
            "a\\u{1b}[2Jb\\u{a}c\\u{202e}d\\u{9b}"
        );
        assert_eq!(visible("Küche · 灯 ━"), "Küche · 灯 ━");
    }

    #[test]
    fn a_refusal_in_json_has_the_five_fixed_fields() {
        let problem = Problem {
            code: "gateway_sealed".into(),
            status: 503,
            title: "T.".into(),
            detail: "D.".into(),
            remedy: "R.".into(),
        };
        assert_eq!(
            serde_json::to_value(Refusal { error: &problem }).unwrap(),
            serde_json::json!({"error": {
                "code": "gateway_sealed", "status": 503, "title": "T.", "detail": "D.", "remedy": "R."
            }})
        );
    }
}
