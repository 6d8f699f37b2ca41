//! Prints settings as commented TOML.

use std::fmt::Write;

use crate::Settings;
use crate::section::Section;
use crate::sections::{PARAMS, PRESETS, sections};

impl Settings {
    /// The settings as commented TOML: for each key its meaning, its allowed values and its current
    /// value. Loading the text gives the same settings, unless a secret is set: secrets are hidden,
    /// and loading refuses that.
    pub fn print(&self) -> String {
        let tree = self.tree();
        let mut out = String::from(
            "# Settings of ltr-host and ltr-trainer. The environment variable LTR_<SECTION>__<KEY> overrides a key.\n",
        );
        for section in sections() {
            let values = section
                .name
                .split('.')
                .try_fold(&tree, |table, name| table.get(name)?.as_table());
            if let Some(values) = values {
                print_section(&mut out, section, values);
            }
        }
        out
    }
}

fn print_section(out: &mut String, section: &Section, values: &toml::Table) {
    out.push('\n');
    for line in section.about {
        line_of(out, format_args!("#{line}"));
    }
    match section.name {
        PRESETS => {
            for (preset, weights) in values {
                line_of(out, format_args!("[{PRESETS}.{}]", quoted(preset)));
                print_free(out, weights.as_table());
            }
        }
        PARAMS => {
            line_of(out, format_args!("[{PARAMS}]"));
            print_free(out, Some(values));
        }
        name => {
            line_of(out, format_args!("[{name}]"));
            for key in section.keys {
                let (last, lines) = key.about.split_last().unwrap_or((&"", &[]));
                for line in lines {
                    line_of(out, format_args!("#{line}"));
                }
                line_of(out, format_args!("#{last} Allowed: {}.", key.rule));
                if let Some(value) = values.get(key.name) {
                    line_of(out, format_args!("{} = {value}", key.name));
                }
            }
        }
    }
}

/// Prints a section whose key names the user chose.
fn print_free(out: &mut String, values: Option<&toml::Table>) {
    for (name, value) in values.into_iter().flatten() {
        line_of(out, format_args!("{} = {value}", quoted(name)));
    }
}

/// A TOML key: bare if possible, else quoted.
fn quoted(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        toml::Value::from(name).to_string()
    }
}

fn line_of(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("a String takes every write");
}
