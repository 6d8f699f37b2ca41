//! Output of the commands: tables for people, JSON for programs.

use std::io::{IsTerminal, Write};

use anyhow::Context;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};
use serde::Serialize;

/// An empty table with this header, which is bold on a terminal.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled);
    let bold = |text: &&str| {
        let cell = Cell::new(text);
        if on_terminal() {
            cell.add_attribute(Attribute::Bold)
        } else {
            cell
        }
    };
    table.set_header(header.iter().map(bold));
    table
}

/// `passed` or `FAILED`, green or red on a terminal.
pub fn verdict(passed: bool) -> Cell {
    let (text, color) = if passed {
        ("passed", Color::Green)
    } else {
        ("FAILED", Color::Red)
    };
    let cell = Cell::new(text);
    if on_terminal() { cell.fg(color) } else { cell }
}

/// Prints a value as indented JSON.
///
/// # Errors
/// Standard output is closed.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(std::io::stdout(), "{text}").context("writing to standard output")
}

fn on_terminal() -> bool {
    std::io::stdout().is_terminal()
}
