use proptest::prelude::*;

use super::*;
use crate::{Categories, Category};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// Values of the wanted columns, or the refusal; format and header are told from the text.
fn by_name(text: &str, wanted: &[&str]) -> Result<Vec<f64>, String> {
    with(text, wanted, false, Header::Unknown)
}

fn by_position(text: &str, wanted: &[&str]) -> Result<Vec<f64>, String> {
    with(text, wanted, true, Header::Unknown)
}

fn with(text: &str, wanted: &[&str], by_position: bool, header: Header) -> Result<Vec<f64>, String> {
    let names = names(wanted);
    let expect = Expect {
        names: &names,
        by_position,
        categories: None,
    };
    table(text, &expect, header)
}

fn table(text: &str, expect: &Expect, header: Header) -> Result<Vec<f64>, String> {
    let options = Options { format: None, header };
    let table = read(text.as_bytes(), &options, expect).map_err(|error| error.in_file("f.csv".as_ref()).to_string())?;
    assert_eq!(table.values.len(), table.rows() * table.width);
    Ok(table.values)
}

/// Equal to the last bit, and missing where missing.
#[track_caller]
fn same(read: Result<Vec<f64>, String>, expected: &[f64]) {
    let read = read.unwrap_or_else(|error| panic!("{error}"));
    let bits = |values: &[f64]| {
        values
            .iter()
            .map(|v| if v.is_nan() { 1 } else { v.to_bits() })
            .collect::<Vec<_>>()
    };
    assert_eq!(bits(&read), bits(expected), "{read:?} instead of {expected:?}");
}

#[track_caller]
fn refused(read: Result<Vec<f64>, String>, parts: &[&str]) {
    let error = read.expect_err("it is taken");
    for part in parts {
        assert!(error.contains(part), "{part} in {error}");
    }
}

const NAN: f64 = f64::NAN;

#[test]
fn a_header_is_told_from_values() {
    same(by_name("a,b\n1,2\n3,\n", &["a", "b"]), &[1.0, 2.0, 3.0, NAN]);
    let rows = "1,nan\n,-inf\r\n\n 5 ,1e-400\n";
    same(
        by_name(rows, &["a", "b"]),
        &[1.0, NAN, NAN, f64::NEG_INFINITY, 5.0, 0.0],
    );
    same(by_name("a,b\n", &["a", "b"]), &[]);
    same(
        by_name("\u{feff}a,b\n1,2".trim_start_matches('\u{feff}'), &["a", "b"]),
        &[1.0, 2.0],
    );
    refused(by_name("", &["a"]), &["at least one row"]);
    refused(by_name("\n\n", &["a"]), &["at least one row"]);
}

#[test]
fn names_that_are_numbers_are_a_header_and_not_a_row() {
    let text = "2020,2019\n0.25,0.125\n";
    same(by_name(text, &["2019", "2020"]), &[0.125, 0.25]);
    same(by_name("id,0,1\n7,0.5,0.75\n", &["1", "0"]), &[0.75, 0.5]);
    same(by_name("0,1,2\n3,4,5\n", &["0", "1", "2"]), &[3.0, 4.0, 5.0]);
    same(by_position(text, &["2019", "2020"]), &[0.25, 0.125]);
    same(
        with(text, &["2019", "2020"], false, Header::Absent),
        &[2020.0, 2019.0, 0.25, 0.125],
    );
}

#[test]
fn what_may_be_a_header_or_a_row_is_refused_and_can_be_said() {
    for (text, wanted) in [
        ("0.5,0.25\n1,2\n", &["2019", "2020"][..]),
        ("0,1\n1,1\n", &["0", "1"]),
        ("0\n1\n", &["0"]),
        ("2019,5\n1,2\n", &["2019", "a"]),
        ("0,1,2\n3,4,5\n", &["a", "b", "c"]),
    ] {
        for read in [by_name(text, wanted), by_position(text, wanted)] {
            refused(read, &["f.csv:1: ", "--header if", "--no-header if"]);
        }
        let rows = text.lines().count();
        let all = with(text, wanted, true, Header::Absent).unwrap();
        assert_eq!(all.len(), rows * wanted.len());
        let others = with(text, wanted, true, Header::Present).unwrap();
        assert_eq!(others, all[wanted.len()..]);
    }
    same(by_name("1,2\n0,1\n", &["a", "b"]), &[1.0, 2.0, 0.0, 1.0]);
}

#[test]
fn a_row_with_a_word_in_it_is_no_header() {
    same(by_name("NA,0.125\n0.75,2\n", &["a", "b"]), &[NAN, 0.125, 0.75, 2.0]);
    same(by_position("NA,null\n0.75,NaN\n", &["a", "b"]), &[NAN, NAN, 0.75, NAN]);
    for text in [
        "N/A,0.125\n0.75,2\n",
        "1,5;0\n",
        "0.5,12%\n",
        "?,\n,1\n",
        "1900-01-01,x\n",
    ] {
        if text.starts_with('?') {
            // Nothing tells this from a header of which one name is empty.
            refused(by_name(text, &["a", "b"]), &["lacks 2 needed columns"]);
            continue;
        }
        refused(by_position(text, &["a", "b"]), &["f.csv"]);
        refused(by_name(text, &["a", "b"]), &["f.csv"]);
    }
    refused(
        by_position("N/A,0.125\n0.75,2\n", &["a", "b"]),
        &["f.csv:1, column 0: \"N/A\"", "--header"],
    );
    refused(
        by_name("N/A,0.125\n0.75,2\n", &["a", "b"]),
        &["f.csv:1, column 0: \"N/A\"", "a number, or empty, na"],
    );
    refused(by_position("N/A\n", &["a"]), &["f.csv:1: \"N/A\"", "at least one row"]);
    refused(
        by_name("a,b\n0.5,N/A\n", &["a", "b"]),
        &["f.csv:2, column b: \"N/A\"", "na, nan or null"],
    );
}

#[test]
fn needed_columns_are_found_by_name_and_others_ignored() {
    same(by_name("\"a\",note,b\n1,x,2\n", &["b", "a"]), &[2.0, 1.0]);
    same(
        by_name("body mass index,age\n1,2\n", &["age", "body_mass_index"]),
        &[2.0, 1.0],
    );
    refused(
        by_name("a,c\n1,2\n", &["b", "a"]),
        &["f.csv lacks 1 needed columns: b; it has 2 columns: a, c"],
    );
    refused(by_name("a,b,a\n1,2,3\n", &["b", "a"]), &["f.csv:1, column a"]);
    same(by_position("x,x\n1,2\n", &["a", "b"]), &[1.0, 2.0]);
    let message = by_position("1,2,3\n", &["a", "b"]).unwrap_err();
    assert_eq!(message, "f.csv:1: \"3 columns\" is refused; allowed: exactly 2 columns");
}

#[test]
fn empty_lines_are_rows_of_a_single_column_and_nothing_elsewhere() {
    same(by_name("only\n0.25\n\n0.75\n", &["only"]), &[0.25, NAN, 0.75]);
    same(by_name("only\r\n\r\n \r\n0.75", &["only"]), &[NAN, NAN, 0.75]);
    same(by_name("\n0.25\n\n\n0.75\n", &["only"]), &[NAN, 0.25, NAN, NAN, 0.75]);
    same(by_name("\nonly\n0.25\n\"\"\n", &["only"]), &[0.25, NAN]);
    same(by_name("\n\na,b\n\n1,2\n\n\n", &["a", "b"]), &[1.0, 2.0]);
    refused(
        by_name("only\n0.25\n\n", &["only"]),
        &["f.csv:3, column only: \"\"", "no empty line at the end"],
    );
    refused(by_name("only\n\n", &["only"]), &["f.csv:2, column only"]);
}

#[test]
fn a_bad_cell_is_refused_with_the_line_an_editor_shows() {
    for (text, place) in [
        (
            "a,b\n1,2\n3,x\n",
            "f.csv:3, column b: \"x\" is refused; allowed: a number",
        ),
        ("a,b\r\n0.25,0.125\r\n0.75,oops\r\n", "f.csv:3, column b"),
        ("a,b\n0.25,0.125\n\n\n0.75,oops\n", "f.csv:5, column b"),
        ("\r\n\r\na,b\r\n1,oops", "f.csv:4, column b"),
        ("a,b,note\n1,2,\"two\nlines\"\n1,oops,\n", "f.csv:4, column b"),
        ("note,a,b\n\"two\r\n\r\nlines\",1,oops\n", "f.csv:4, column b"),
        ("1,2\n3,0x10\n", "f.csv:2, column 1: \"0x10\""),
        (
            "1,2\n3\n",
            "f.csv:2: \"1 fields\" is refused; allowed: 2 fields, as in the first line",
        ),
        ("a,b\n1,2\n1,2,\n", "f.csv:3: \"3 fields\""),
        ("a;x,b\n1,\"0,5\"\n", "decimal point"),
    ] {
        refused(
            by_name(
                text,
                if text.starts_with("a;x") {
                    &["a;x", "b"]
                } else {
                    &["a", "b"]
                },
            ),
            &[place],
        );
    }
}

#[test]
fn quotes_hold_what_they_should_and_lose_nothing() {
    same(
        by_name("a,b,note\n1,\"2\",\"x, \"\"y\"\"\n\n\"\n3,4,\"\"\n", &["a", "b"]),
        &[1.0, 2.0, 3.0, 4.0],
    );
    let open = "a,b,note\n0.25,0.125,fine\n0.75,2,\"27 inch\n0.5,1,x\n0.75,0,y\n";
    refused(
        by_name(open, &["a", "b"]),
        &["f.csv:3, column note: \"\\\"27 inch\"", "closed before the file ends"],
    );
    let stray = "a,b,note\n1,2,27\" screen\n";
    refused(
        by_name(stray, &["a", "b"]),
        &["f.csv:2, column note", "quotes around a whole field"],
    );
    let behind = "a,b,note\n1,2,\"27\" inch\n";
    refused(
        by_name(behind, &["a", "b"]),
        &["f.csv:2, column note: \"\\\"27\\\" inch\""],
    );
    let later = "a,b,note\n1,2,\"27 inch\n1,2,\"29 inch\n";
    refused(by_name(later, &["a", "b"]), &["f.csv:3, column note", "open in line 2"]);
    refused(
        by_name("\"a,b\n1,2\n", &["a", "b"]),
        &["f.csv:1, column 0", "closed before the file ends"],
    );
}

#[test]
fn bytes_that_no_table_has_are_refused() {
    refused(
        by_name("a,b\n1,2\r3,4\r", &["a", "b"]),
        &["f.csv:2: \"a carriage return within the line\""],
    );
    refused(by_name("a,b\n1,2\n1,\0\n", &["a", "b"]), &["f.csv:3: \"a zero byte\""]);
    let endless = std::io::Read::take(std::io::repeat(b'1'), 1 << 30);
    let names = names(&["a"]);
    let expect = Expect {
        names: &names,
        by_position: false,
        categories: None,
    };
    let error = read(std::io::BufReader::new(endless), &Options::default(), &expect).unwrap_err();
    assert!(
        error
            .in_file("f.csv".as_ref())
            .to_string()
            .contains("records of less than")
    );
}

#[test]
fn tabs_are_read_and_other_separators_named() {
    same(
        by_name("b\ta\n0.25\t0.125\n\t2\n", &["a", "b"]),
        &[0.125, 0.25, 2.0, NAN],
    );
    same(by_name("0.25\t0.125\n", &["a", "b"]), &[0.25, 0.125]);
    same(by_name("a\tb\tnote, or not\n1\t2\tx,y\n", &["a", "b"]), &[1.0, 2.0]);
    same(by_name("a,note\tmore,b\n1,x\ty,2\n", &["a", "b"]), &[1.0, 2.0]);
    same(by_name("a,b;c\n1,2\n", &["a", "b;c"]), &[1.0, 2.0]);
    refused(by_name("0,25\t0,125\n0,75\t2\n", &["a", "b"]), &["decimal point"]);
    for semicolons in [
        "a;b\n0.25;0.125\n",
        "a;b\n0,25;0,125\n",
        "0,25;0,125\n0,75;2\n",
        "0.25;0.125\n",
        "0,25;7\n",
    ] {
        for read in [by_name(semicolons, &["a", "b"]), by_position(semicolons, &["a", "b"])] {
            refused(read, &["semicolons", "commas or tabs"]);
        }
    }
    refused(by_name("a|b\n0.25|0.125\n", &["a", "b"]), &["vertical bars"]);
    refused(by_name("0.25 0.125\n", &["a", "b"]), &["blanks between"]);
}

#[test]
fn whole_numbers_that_all_differ_above_fractions_may_be_names_and_must_be_said() {
    let either = ["f.csv:1", "--header if these are", "--no-header"];
    for text in [
        "19,23\n0.5,0.25\n",
        "0,1\n1,2\n0.5,3\n",
        "2019,2020\n1,0.5\n",
        "0.0,1.0\n0.5,2\n",
        "\"10\",\"20\"\n1,0.25\n",
        "-1,7\n0.5,nan\n",
    ] {
        refused(by_name(text, &["a", "b"]), &either);
        refused(by_position(text, &["a", "b"]), &either);
    }
    refused(by_name("5\n0.5\n", &["a"]), &either);
    // What cannot be names, and what stands above nothing else.
    same(by_name("1,1\n0.5,2\n", &["a", "b"]), &[1.0, 1.0, 0.5, 2.0]);
    same(by_name("1,2.5\n0.5,2\n", &["a", "b"]), &[1.0, 2.5, 0.5, 2.0]);
    same(by_name("1,2\n3,4\n", &["a", "b"]), &[1.0, 2.0, 3.0, 4.0]);
    same(by_name("7,8\n", &["a", "b"]), &[7.0, 8.0]);
}

#[test]
fn words_for_booleans_are_0_and_1() {
    same(
        by_name("flag,x\nTrue,1\nfalse,2\n,3\n", &["flag", "x"]),
        &[1.0, 1.0, 0.0, 2.0, NAN, 3.0],
    );
    same(by_position("TRUE,1\n", &["flag", "x"]), &[1.0, 1.0]);
}

#[test]
fn values_of_categories_become_their_codes() {
    let text = |text: &str| Category::Text(text.to_owned());
    let lists = Categories::Columns(
        [
            ("size".to_owned(), vec![Category::Integer(10), Category::Integer(20)]),
            ("color".to_owned(), vec![text("red"), text("blue")]),
        ]
        .into(),
    );
    let names = names(&["size", "w", "color"]);
    let expect = Expect {
        names: &names,
        by_position: false,
        categories: Some(&lists),
    };
    let read = |text: &str| table(text, &expect, Header::Unknown);
    same(
        read("w,color,size\n7,blue,20\n8,green,10.0\n9,,30\n"),
        &[1.0, 7.0, 1.0, 0.0, 8.0, NAN, NAN, 9.0, NAN],
    );
    same(read("20,7,red\n"), &[1.0, 7.0, 0.0]);
    refused(
        read("w,color,size\n7,1,20\n"),
        &["f.csv:2, column color: \"1\"", "\"red\", \"blue\"", "--category-codes"],
    );
    refused(
        read("w,color,size\n7,red,big\n"),
        &["f.csv:2, column size: \"big\"", "(10, 20)"],
    );
    let expect = Expect {
        categories: Some(&Categories::Unclear("two columns could have them".to_owned())),
        ..expect
    };
    refused(
        table("w\n1\n", &expect, Header::Unknown),
        &["f.csv", "two columns could have them", "--category-codes"],
    );
}

#[test]
fn a_line_without_text_is_no_row_that_could_be_a_category_or_missing() {
    let names = names(&["color"]);
    for (blank, line) in [("  ", "  "), ("", ""), ("  ", "")] {
        let list = [blank, "red"].map(|text| Category::Text(text.to_owned()));
        let lists = Categories::Columns([("color".to_owned(), list.to_vec())].into());
        let expect = Expect {
            names: &names,
            by_position: false,
            categories: Some(&lists),
        };
        let read = |text: String| table(&text, &expect, Header::Unknown);
        refused(
            read(format!("color\nred\n{line}\nred\n")),
            &["f.csv:3, column color", "in quotes", "nan"],
        );
        same(read("color\nred\nnan\nred\n".to_owned()), &[1.0, NAN, 1.0]);
        if !blank.is_empty() {
            same(read(format!("color\n\"{blank}\"\nred\n")), &[0.0, 1.0]);
        }
    }
}

/// How a program may write a table.
#[derive(Clone, Debug)]
struct Dialect {
    separator: char,
    end: &'static str,
    quote: bool,
    header: bool,
    blanks: bool,
    missing: &'static str,
    last_end: bool,
}

fn dialect() -> impl Strategy<Value = Dialect> {
    let words = prop::sample::select(vec!["", "NA", "nan", "NaN", "null", "NULL"]);
    let ends = prop::sample::select(vec!["\n", "\r\n"]);
    let separators = prop::sample::select(vec![',', '\t']);
    (separators, ends, any::<[bool; 4]>(), words).prop_map(
        |(separator, end, [quote, header, blanks, last_end], missing)| Dialect {
            separator,
            end,
            quote,
            header,
            blanks,
            missing,
            last_end,
        },
    )
}

impl Dialect {
    fn write(&self, names: &[String], rows: &[Vec<Option<f64>>]) -> String {
        let field = |text: String| if self.quote { format!("\"{text}\"") } else { text };
        let line = |fields: Vec<String>| fields.join(&self.separator.to_string());
        let mut lines = Vec::new();
        if self.header {
            let note = "some, \"note\"\n\tover lines".replace('"', "\"\"");
            lines.push(format!(
                "{}{}\"{note}\"",
                line(names.iter().cloned().map(field).collect()),
                self.separator
            ));
        }
        for row in rows {
            let cell = |value: &Option<f64>| field(value.map_or(self.missing.to_owned(), |value| value.to_string()));
            let mut row = line(row.iter().map(cell).collect());
            if self.header {
                row.push(self.separator);
                row.push_str("\"x\"");
            }
            lines.push(row);
            if self.blanks {
                lines.push(String::new());
            }
        }
        lines.join(self.end) + if self.last_end { self.end } else { "" }
    }
}

fn value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![4 => proptest::num::f64::ANY.prop_map(|v| Some(v).filter(|v| !v.is_nan())), 1 => Just(None)]
}

proptest! {
    #[test]
    fn a_table_reads_back_from_every_dialect(
        width in 2usize..5,
        cells in prop::collection::vec(value(), 4..60),
        dialect in dialect(),
    ) {
        let rows: Vec<Vec<Option<f64>>> = cells.chunks_exact(width).map(<[_]>::to_vec).collect();
        let names: Vec<String> = (0..width).map(|at| format!("feature {at}")).collect();
        let wanted: Vec<String> = names.iter().map(|name| name.replace(' ', "_")).collect();
        let text = dialect.write(&names, &rows);
        let expect = Expect { names: &wanted, by_position: false, categories: None };
        let values: Vec<f64> = rows.concat().into_iter().map(|value| value.unwrap_or(NAN)).collect();
        // Whole numbers alone may be names.
        let is_plain = dialect.header || rows[0].iter().any(|value| value.is_none_or(|value| value.fract() != 0.0));
        let header = if is_plain { Header::Unknown } else { Header::Absent };
        same(table(&text, &expect, header), &values);
    }

    #[test]
    fn a_single_column_keeps_its_rows_or_is_refused(
        rows in prop::collection::vec(prop::option::of(-9i32..9), 1..20), header: bool, end in "\r?\n",
    ) {
        let cell = |value: &Option<i32>| value.map_or(String::new(), |value| value.to_string()) + &end;
        let text = if header { format!("only{end}") } else { String::new() } + &rows.iter().map(cell).collect::<String>();
        let read = by_name(&text, &["only"]);
        match (rows.iter().rev().find(|row| row.is_some()), rows.last()) {
            (Some(_), Some(Some(_))) => {
                let values: Vec<f64> = rows.iter().map(|value| value.map_or(NAN, f64::from)).collect();
                same(read, &values);
            }
            _ => prop_assert!(read.is_err(), "{read:?}"),
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_lose_a_row(text in "[a,\t\"\n\r;0-9 .NA-]{0,60}", by_position: bool) {
        let wanted = names(&["a", "N"]);
        let expect = Expect { names: &wanted, by_position, categories: None };
        if let Ok(values) = table(&text, &expect, Header::Unknown) {
            let quoted = text.contains('"');
            let lines = text.lines().filter(|line| !line.trim_matches([' ', '\r']).is_empty()).count();
            prop_assert!(quoted || values.len() / 2 == lines || values.len() / 2 + 1 == lines, "{values:?}");
        }
    }
}
