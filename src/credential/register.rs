//! `hearthkey credential register`: the open register of everything that is kept and who is responsible for it.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use hearthkey_api::CredentialView;
use serde::Serialize;

use crate::context::Context;
use crate::credential::all;
use crate::failure::Failure;
use crate::out_file::OutFile;

/// Where the register goes.
#[derive(Debug, Args)]
pub struct Register {
    /// The file to write, readable by you alone.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace an existing file.
    #[arg(long)]
    replace: bool,
    /// Its form; otherwise as the file's name says, and JSON if it says nothing.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// RFC 4180, one credential a line.
    Csv,
    /// One array.
    Json,
}

#[derive(Serialize)]
struct Written<'a> {
    file: &'a Path,
    credentials: usize,
}

impl Register {
    /// Writes it.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let credentials = all(&context.client()?, "").await?;
        let named_csv = self
            .out
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("csv"));
        let format = self
            .format
            .unwrap_or(if named_csv { Format::Csv } else { Format::Json });
        let text = match format {
            Format::Csv => csv(&credentials),
            Format::Json => serde_json::to_string_pretty(&credentials).unwrap_or_default() + "\n",
        };
        if OutFile::write(&self.out, text.as_bytes(), self.replace)? {
            return Ok(());
        }
        let written = Written {
            file: &self.out,
            credentials: credentials.len(),
        };
        let shown = || {
            format!(
                "{} credentials written to {}.",
                written.credentials,
                self.out.display()
            )
        };
        context.output.answer(&written, shown)
    }
}

const COLUMNS: [&str; 27] = [
    "name",
    "environment",
    "kind",
    "tier",
    "state",
    "owner",
    "purpose",
    "custody",
    "location",
    "origin",
    "source",
    "added_by",
    "added_at",
    "version",
    "version_at",
    "used_by",
    "scopes",
    "rotate_every",
    "rotate_on",
    "rotate_after_uses",
    "rotate_automatically",
    "overlap",
    "expires_at",
    "last_used_at",
    "last_used_by",
    "uses",
    "due",
];

/// The register in RFC 4180.
fn csv(credentials: &[CredentialView]) -> String {
    let mut text = COLUMNS.join(",") + "\r\n";
    for c in credentials {
        let some = |text: &Option<String>| text.clone().unwrap_or_default();
        let cells: [String; COLUMNS.len()] = [
            c.name.clone(),
            c.environment.clone(),
            c.kind.clone(),
            c.tier.clone(),
            c.state.clone(),
            c.owner.clone(),
            c.purpose.clone(),
            c.custody.clone(),
            some(&c.location),
            c.provenance.origin.clone(),
            some(&c.provenance.source),
            c.provenance.by.clone(),
            c.provenance.at.clone(),
            c.version
                .map_or_else(String::new, |version| version.to_string()),
            some(&c.version_at),
            c.used_by.join("; "),
            c.scopes.join("; "),
            some(&c.rotation.every),
            some(&c.rotation.on),
            c.rotation
                .after_uses
                .map_or_else(String::new, |uses| uses.to_string()),
            c.rotation.automatic.to_string(),
            some(&c.rotation.overlap),
            some(&c.expires_at),
            some(&c.last_used_at),
            some(&c.last_used_by),
            c.uses.to_string(),
            some(&c.due),
        ];
        let cells: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
        text += &cells.join(",");
        text += "\r\n";
    }
    text
}

/// One cell. What a spreadsheet would take for a formula is shown as text.
fn csv_cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_where_it_must_be_and_never_a_formula() {
        assert_eq!(csv_cell("anna"), "anna");
        assert_eq!(csv_cell("anna, \"bo\""), "\"anna, \"\"bo\"\"\"");
        assert_eq!(csv_cell("=1+1"), "'=1+1");
        assert_eq!(csv_cell("@x,y"), "\"'@x,y\"");
    }
}
