//! Tables and lists of facts, aligned for people.

use crate::output::visible;

/// The space between two columns.
const GAP: &str = "  ";

/// Rows under headings, with every column as wide as its widest cell.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with headings and no rows yet.
    pub fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|text| (*text).to_owned()).collect()],
        }
    }

    /// Adds a row. An empty cell is shown as a dash, so that columns stay countable.
    pub fn row(&mut self, cells: &[&str]) {
        let shown = cells.iter().map(|cell| match *cell {
            "" => "-".to_owned(),
            text => visible(text),
        });
        self.rows.push(shown.collect());
    }

    /// The table as text, without trailing spaces and without a newline at its end.
    pub fn render(&self) -> String {
        align(&self.rows)
    }
}

/// Names and values, one pair a line; a value that is not there is left out.
pub fn facts(pairs: &[(&str, Option<String>)]) -> String {
    let rows: Vec<Vec<String>> = pairs
        .iter()
        .filter_map(|(name, value)| Some(vec![(*name).to_owned(), visible(value.as_ref()?)]))
        .collect();
    align(&rows)
}

/// A number and its noun: `1 session`, `2 sessions`.
pub fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// A number of bytes: `512 bytes`, `1.5 kB`, `20.0 MB`.
pub fn bytes(number: u64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let unit = units.iter().find(|(size, _)| number as f64 >= *size);
    match unit {
        Some((size, unit)) => format!("{:.1} {unit}", number as f64 / size),
        None => count(number, "byte"),
    }
}

fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}", width = *width))
            .collect();
        cells.join(GAP).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["DEVICE", "STATE"]);
        table.row(&["lamp", "active"]);
        table.row(&["front-door", "suspended"]);
        assert_eq!(
            table.render(),
            "DEVICE      STATE\nlamp        active\nfront-door  suspended"
        );
    }

    #[test]
    fn width_is_counted_in_characters_and_not_in_bytes() {
        let mut table = Table::new(&["OWNER", "X"]);
        table.row(&["Jürgen", "1"]);
        assert_eq!(table.render(), "OWNER   X\nJürgen  1");
    }

    #[test]
    fn an_empty_cell_is_a_dash() {
        let mut table = Table::new(&["A", "B"]);
        table.row(&["", "1"]);
        assert_eq!(table.render(), "A  B\n-  1");
    }

    #[test]
    fn a_cell_cannot_begin_a_line_of_its_own() {
        let mut table = Table::new(&["OWNER"]);
        table.row(&["anna\nroot"]);
        assert_eq!(table.render(), "OWNER\nanna\\u{a}root");
    }

    #[test]
    fn a_table_without_rows_is_its_headings() {
        assert_eq!(Table::new(&["A", "B"]).render(), "A  B");
    }

    #[test]
    fn a_fact_that_is_not_known_is_left_out() {
        let text = facts(&[
            ("home", Some("attic".into())),
            ("incident", None),
            ("devices", Some("2".into())),
        ]);
        assert_eq!(text, "home     attic\ndevices  2");
    }

    #[test]
    fn one_is_singular_and_nothing_is_plural() {
        assert_eq!(count(1, "session"), "1 session");
        assert_eq!(count(0, "session"), "0 sessions");
    }
}
