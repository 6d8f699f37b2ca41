//! The core modules behind the components, as text.
//!
//! Memory: the description at 16, the answer of `score` or `explain` at 96, names and strings from 128, and the
//! heap from the first page boundary after them. There is one allocation at a time, the rows of the current
//! call, always at the start of the heap; scores are written behind them.

use super::{Behaviour, Fault, When};

const DESCRIPTION: u32 = 16;
const ANSWER: u32 = 96;
const STRINGS: u32 = 128;
const PAGE: u32 = 65536;
const HUGE: u32 = 100_000_000;

#[expect(clippy::too_many_lines, reason = "the text of one module")]
pub(crate) fn text(feature_names: &[&str], behaviour: Behaviour) -> String {
    if behaviour == Behaviour::WrongWorld {
        return r#"(module (func (export "ltr:scorer/greeting@1.1.0#greet") (result i32) i32.const 1))"#.into();
    }
    let image = image(feature_names, behaviour);
    let heap = (image.len() as u32).next_multiple_of(PAGE);
    let width = feature_names.len() as u32;
    let version = if behaviour == Behaviour::WrongInterfaceVersion {
        "2.0.0"
    } else {
        "1.1.0"
    };
    let import = match behaviour {
        Behaviour::WithImport => import("wasi:clocks/monotonic-clock@0.2.0"),
        Behaviour::WithOtherImport => import("ltr:scorer/whispers@1.1.0"),
        _ => String::new(),
    };
    let table = match behaviour {
        Behaviour::HugeTable => "(table $table 10000000 funcref)",
        Behaviour::Faulty(Fault::GrowTables, _) => "(table $table 1 funcref)",
        _ => "",
    };
    let start = match behaviour {
        Behaviour::SpinInInstantiate => "(func $spin (loop $again (br $again))) (start $spin)",
        _ => "",
    };
    let in_describe = match behaviour {
        Behaviour::SpinInDescribe => "(loop $again (br $again))",
        Behaviour::TrapInDescribe => "unreachable",
        Behaviour::AllocateInDescribe => "(call $allocate_forever)",
        _ => "",
    };
    let fault = match behaviour {
        Behaviour::Faulty(fault, when) => format!("(if {} (then {}))", condition(when), act(fault)),
        Behaviour::Slow(rounds) => format!(
            "(local.set $left (i64.mul (i64.extend_i32_u (local.get $end)) (i64.const {rounds})))
            (loop $again (br_if $again
              (i64.ne (local.tee $left (i64.sub (local.get $left) (i64.const 1))) (i64.const 0))))"
        ),
        _ => String::new(),
    };
    let in_score = match behaviour {
        // A list<f64> alone: pointer and length, without a discriminant before them.
        Behaviour::WrongTypes => format!("(return (i32.const {}))", ANSWER + 4),
        _ => fault.clone(),
    };
    let score = answering("(param $output i32)", heap, width, 1, &in_score);
    // A contribution a feature and the expected value.
    let explain = match behaviour {
        Behaviour::WithoutExplain => String::new(),
        _ => format!(
            r#"(func (export "ltr:scorer/scoring@{version}#explain") {})"#,
            answering("", heap, width, width + 1, &fault)
        ),
    };
    format!(
        r#"(module {import}
  (memory (export "memory") {pages})
  {table}
  (data (i32.const 0) "{data}")
  (global $calls (mut i32) (i32.const 0))
  {start}
  (func $allocate_forever
    (loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    unreachable)
  (func $deeper (param i32) (result i32)
    (i32.add (call $deeper (i32.add (local.get 0) (i32.const 1))) (local.get 0)))
  (func $need (param $bytes i32)
    (local $missing i32)
    (local.set $missing (i32.sub
      (i32.div_u (i32.add (i32.add (local.get $bytes) (i32.const {heap})) (i32.const 65535)) (i32.const 65536))
      (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1)) (then unreachable)))))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (call $need (local.get 3))
    (i32.const {heap}))
  (func (export "ltr:scorer/scoring@{version}#describe") (result i32)
    {in_describe}
    (i32.const {DESCRIPTION}))
  (func (export "ltr:scorer/scoring@{version}#score") {score})
  {explain})"#,
        pages = pages(behaviour, heap),
        data = image.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>(),
    )
}

/// Takes a function from elsewhere, and gives it away again so that nobody leaves it out as unused.
fn import(interface: &str) -> String {
    format!(r#"(import "{interface}" "now" (func $now (result i64))) (export "keep" (func $now))"#)
}

/// A function over rows that answers `per_row` numbers a row: its first feature, then zeros.
fn answering(parameter: &str, heap: u32, width: u32, per_row: u32, fault: &str) -> String {
    format!(
        r#"(param $rows i32) (param $values i32) {parameter} (result i32)
    (local $count i32) (local $scores i32) (local $row i32) (local $end i32) (local $left i64)
    (local.set $end (i32.div_u (local.get $values) (i32.const {width})))
    (local.set $count (i32.mul (local.get $end) (i32.const {per_row})))
    (local.set $scores (i32.add (i32.const {heap}) (i32.shl (local.get $values) (i32.const 3))))
    (call $need (i32.shl (i32.add (local.get $values) (local.get $count)) (i32.const 3)))
    (memory.fill (local.get $scores) (i32.const 0) (i32.shl (local.get $count) (i32.const 3)))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $row) (local.get $end)))
      (f64.store (i32.add (local.get $scores) (i32.mul (local.get $row) (i32.const {step})))
        (f64.load (i32.add (local.get $rows) (i32.mul (local.get $row) (i32.const {stride})))))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br $next)))
    (i32.store8 (i32.const {ANSWER}) (i32.const 0))
    (i32.store (i32.const {answer_ptr}) (local.get $scores))
    (i32.store (i32.const {answer_len}) (local.get $count))
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    {fault}
    (i32.const {ANSWER})"#,
        stride = width * 8,
        step = per_row * 8,
        answer_ptr = ANSWER + 4,
        answer_len = ANSWER + 8,
    )
}

fn pages(behaviour: Behaviour, heap: u32) -> u32 {
    match behaviour {
        Behaviour::HugeMemory => (1 << 30) / PAGE,
        Behaviour::HugeDescription | Behaviour::AliasedFeatures | Behaviour::MillionFeatures => {
            (heap + HUGE).div_ceil(PAGE)
        }
        _ => heap / PAGE + 1,
    }
}

fn condition(when: When) -> String {
    match when {
        When::Always => "(i32.const 1)".into(),
        When::AfterCalls(calls) => format!("(i32.gt_u (global.get $calls) (i32.const {calls}))"),
        When::ValuesOver(values) => format!("(i32.gt_u (local.get $values) (i32.const {values}))"),
    }
}

/// What happens after the honest answer has been written and before it is returned.
fn act(fault: Fault) -> String {
    let (ptr, len) = (ANSWER + 4, ANSWER + 8);
    let count_more =
        |more: &str| format!("(i32.store (i32.const {len}) (i32.add (local.get $count) (i32.const {more})))");
    // An error is discriminant 1; score-error.model and explain-error.model are case 2, their text where the list's length was.
    let refuse = |text_len: u32| {
        format!(
            "(i32.store8 (i32.const {ANSWER}) (i32.const 1)) (i32.store8 (i32.const {ptr}) (i32.const 2))
             (i32.store (i32.const {len}) (i32.const {REFUSAL})) (i32.store (i32.const {}) (i32.const {text_len}))",
            ANSWER + 12
        )
    };
    let fill = |value: &str| {
        format!(
            "(local.set $row (i32.const 0))
            (loop $again
              (f64.store (i32.add (local.get $scores) (i32.shl (local.get $row) (i32.const 3))) (f64.const {value}))
              (local.set $row (i32.add (local.get $row) (i32.const 1)))
              (br_if $again (i32.lt_u (local.get $row) (local.get $count))))"
        )
    };
    match fault {
        Fault::Trap => "unreachable".into(),
        Fault::Spin => "(loop $again (br $again))".into(),
        Fault::TooFew => count_more("-1"),
        Fault::TooMany => format!("(drop (memory.grow (i32.const 1))) {}", count_more("1")),
        Fault::FarTooMany => format!("(drop (memory.grow (i32.const 200))) {}", count_more("1000000")),
        Fault::AllocateForever => "(call $allocate_forever)".into(),
        Fault::GrowTables => "(loop $again (br_if $again (i32.ne
              (table.grow $table (ref.null func) (i32.const 100)) (i32.const -1))))
            unreachable"
            .into(),
        Fault::StackOverflow => "(drop (call $deeper (i32.const 0)))".into(),
        Fault::LieAboutLengths => format!("(i32.store (i32.const {ptr}) (i32.const 0xfffffff0))"),
        Fault::NanScores => fill("nan"),
        Fault::InfiniteScores => fill("inf"),
        Fault::Refuse => refuse(2),
        Fault::RefuseAtLength => format!("(drop (memory.grow (i32.const 20))) {}", refuse(1_000_000)),
        Fault::Hoard => "(drop (memory.grow (i32.const 1024)))".into(),
    }
}

/// Where the text of a refusal is, in the strings.
const REFUSAL: u32 = STRINGS;

/// The memory's first bytes: the description with all it points to, in the canonical ABI's layout.
fn image(feature_names: &[&str], behaviour: Behaviour) -> Vec<u8> {
    let mut image = vec![0; STRINGS as usize];
    image.extend(b"no");
    let mut string = |text: &[u8]| {
        let at = image.len() as u32;
        image.extend(text);
        (at, text.len() as u32)
    };
    let mut model_version = string(if behaviour == Behaviour::NotUtf8 {
        b"\xff\xfe"
    } else {
        b"evil"
    });
    let contract = string(if behaviour == Behaviour::WrongContract {
        b"2.0.0"
    } else {
        b"1.1.0"
    });
    let objective = string(b"lambdarank");
    let mut names: Vec<(u32, u32)> = feature_names.iter().map(|name| string(name.as_bytes())).collect();
    match behaviour {
        Behaviour::DuplicateFeatureNames => names.push(names[0]),
        Behaviour::NoFeatures => names.clear(),
        Behaviour::AliasedFeatures => names = vec![(PAGE, HUGE); 10_000],
        Behaviour::HugeDescription => model_version = (PAGE, HUGE),
        _ => {}
    }
    image.resize(image.len().next_multiple_of(8), 0);
    let mut table = (image.len() as u32, names.len() as u32);
    for (at, len) in names {
        image.extend(at.to_le_bytes());
        image.extend(len.to_le_bytes());
    }
    if behaviour == Behaviour::MillionFeatures {
        table = (PAGE, 1_000_000);
    }
    let outputs = match behaviour {
        Behaviour::NoOutputs => 0,
        Behaviour::LieAboutOutputs => 2,
        _ => 1,
    };
    let fields = [model_version, contract, table, objective, (1, outputs)];
    let words = fields.iter().flat_map(|(a, b)| [*a, *b]);
    for (index, word) in words.enumerate() {
        let at = DESCRIPTION as usize + 4 * index;
        image[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    image
}
