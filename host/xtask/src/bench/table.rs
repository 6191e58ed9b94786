//! The result: rows with goal, measured value and spread, as a table for people and as JSON.

use serde::Serialize;
use std::fmt;

/// What a row's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Milliseconds, shown with a tenth.
    Ms,
    /// A count of something the row names.
    Count,
    /// Octets.
    Bytes,
    /// MiB of memory.
    Mib,
}

/// Something measured.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What, and on which machine.
    pub what: String,
    /// Of all numbers of the row.
    pub unit: Unit,
    /// At most this is wanted.
    pub goal: Option<f64>,
    /// The median.
    pub measured: f64,
    /// Lower and upper quartile, where several runs were made.
    pub spread: Option<(f64, f64)>,
    /// Whether the goal is met.
    pub met: Option<bool>,
}

impl Row {
    /// A row; whether it meets its goal follows.
    pub fn new(what: impl Into<String>, unit: Unit, goal: Option<f64>, measured: f64) -> Self {
        let met = goal.map(|goal| measured <= goal);
        Self { what: what.into(), unit, goal, measured, spread: None, met }
    }

    /// Adds the quartiles.
    pub fn with_spread(mut self, low: f64, high: f64) -> Self {
        self.spread = Some((low, high));
        self
    }
}

/// All that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Table {
    /// In the order of measuring.
    pub rows: Vec<Row>,
    /// What a reader must know, one line each.
    pub notes: Vec<String>,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["what", "goal", "measured", "met", "spread"].map(str::to_owned);
        f.write_str(&aligned(header, self.rows.iter().map(cells)))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

/// A table as text. The first column is words, the others are numbers.
pub fn aligned<const N: usize>(header: [String; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut lines = vec![header];
    lines.extend(rows);
    let widths: [usize; N] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(2)
    });
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        out += &format!("| {:<width$} |", line[0], width = widths[0]);
        for (cell, width) in line.iter().zip(widths).skip(1) {
            out += &format!(" {cell:>width$} |");
        }
        out += "\n";
        if index == 0 {
            out += "|";
            for (column, width) in widths.into_iter().enumerate() {
                out += &format!(" {}{} |", "-".repeat(width - 1), if column == 0 { "-" } else { ":" });
            }
            out += "\n";
        }
    }
    out
}

fn cells(row: &Row) -> [String; 5] {
    let number = |value| number(row.unit, value);
    let met = match row.met {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "",
    };
    let spread = row.spread.map(|(low, high)| format!("{} .. {}", number(low), number(high)));
    [
        row.what.clone(),
        row.goal.map(|goal| format!("<= {}", number(goal))).unwrap_or_default(),
        number(row.measured),
        met.to_owned(),
        spread.unwrap_or_default(),
    ]
}

fn number(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Ms => format!("{value:.1} ms"),
        Unit::Count => thousands(value),
        Unit::Bytes => format!("{} B", thousands(value)),
        Unit::Mib => format!("{value} MiB"),
    }
}

/// A whole number with commas between groups of three digits.
pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::from(if value <= -0.5 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned() {
        let table = Table {
            rows: vec![
                Row::new("hello, q35", Unit::Ms, Some(10.0), 12.34).with_spread(11.0, 13.0),
                Row::new("size", Unit::Bytes, Some(60_000.0), 53_104.0),
                Row::new("string bytes", Unit::Count, None, 1_234_567.0),
            ],
            notes: vec!["a note".into()],
        };
        assert_eq!(
            table.to_string(),
            "\
| what         |        goal |  measured | met |             spread |
| ------------ | ----------: | --------: | --: | -----------------: |
| hello, q35   |  <= 10.0 ms |   12.3 ms |  NO | 11.0 ms .. 13.0 ms |
| size         | <= 60,000 B |  53,104 B | yes |                    |
| string bytes |             | 1,234,567 |     |                    |
a note
"
        );
    }

    #[test]
    fn groups_of_three() {
        for (value, text) in
            [(0.0, "0"), (999.0, "999"), (1000.0, "1,000"), (-12345.0, "-12,345"), (1e6, "1,000,000")]
        {
            assert_eq!(thousands(value), text);
        }
    }
}
