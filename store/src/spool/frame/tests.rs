use proptest::prelude::*;

use super::*;

/// A file of these records, and where the bytes of each are, without the line feed.
fn file(records: &[String]) -> (Vec<u8>, Vec<std::ops::Range<usize>>) {
    let mut file = Vec::new();
    let ranges = records.iter().map(|record| {
        let start = file.len();
        write(&mut file, record.as_bytes());
        start..file.len() - 1
    });
    let ranges = ranges.collect();
    (file, ranges)
}

fn records(file: &[u8]) -> Vec<String> {
    let parts = parts(file).filter_map(|part| match part {
        Part::Record(json) => Some(String::from_utf8(json.to_vec()).unwrap()),
        _ => None,
    });
    parts.collect()
}

/// Whether all of `some` are in `all`, in order.
fn is_within(some: &[String], all: &[String]) -> bool {
    let mut all = all.iter();
    some.iter().all(|one| all.any(|other| other == one))
}

fn damaged(file: &[u8]) -> usize {
    let parts = parts(file).map(|part| match part {
        Part::Damage { bytes, .. } => bytes,
        _ => 0,
    });
    parts.sum()
}

/// A line of version 0.1.
fn line(json: &str, records: usize) -> String {
    let body = format!("{records} {json}");
    format!("{} {body}\n", checksum(body.as_bytes()))
}

/// What may happen to a file on a disk.
#[derive(Clone, Debug)]
enum Damage {
    Flip(u8),
    Cut,
    Insert(Vec<u8>),
    Delete(usize),
}

impl Damage {
    /// Does it to `file` at a place, and says which bytes it touched; an insertion touches none, but what lies around it.
    fn strike(&self, file: &mut Vec<u8>, at: usize) -> std::ops::Range<usize> {
        match self {
            Damage::Flip(bits) => {
                file[at] ^= bits;
                at..at + 1
            }
            Damage::Cut => {
                let end = file.len();
                file.truncate(at);
                at..end
            }
            Damage::Insert(bytes) => {
                file.splice(at..at, bytes.iter().copied());
                at..at
            }
            Damage::Delete(bytes) => {
                let end = (at + bytes).min(file.len());
                file.drain(at..end);
                at..end
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    // Bytes that mean something are the hardest.
    let byte = prop_oneof![any::<u8>(), Just(SEPARATOR), Just(b'\n'), Just(b'0'), Just(b' ')];
    prop_oneof![
        (1..=u8::MAX).prop_map(Damage::Flip),
        Just(Damage::Flip(SEPARATOR ^ b'\n')),
        Just(Damage::Cut),
        proptest::collection::vec(byte, 1..60).prop_map(Damage::Insert),
        (1..200_usize).prop_map(Damage::Delete),
    ]
}

proptest! {
    #[test]
    fn damage_loses_no_record_whose_own_bytes_are_intact(
        written in proptest::collection::vec("[ -~]{0,60}", 1..12),
        damage in damage(),
        place in any::<prop::sample::Index>(),
    ) {
        let (mut bytes, ranges) = file(&written);
        let touched = damage.strike(&mut bytes, place.index(ranges.last().unwrap().end + 1));
        // An insertion is a place between two bytes.
        let last = if touched.is_empty() { touched.start } else { touched.end };
        let is_intact = |own: &std::ops::Range<usize>| last <= own.start || touched.start >= own.end;
        let intact = written.iter().zip(&ranges).filter(|(_, own)| is_intact(own));
        let intact: Vec<String> = intact.map(|(record, _)| record.clone()).collect();
        let read = records(&bytes);
        prop_assert!(is_within(&intact, &read), "{:?} of {:?}", read, intact);
        prop_assert!(is_within(&read, &written), "{:?} were never written", read);
    }

    #[test]
    fn whatever_the_bytes_every_one_of_them_is_in_one_part(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..400),
            proptest::collection::vec(prop_oneof![Just(SEPARATOR), Just(b'\n'), Just(b'0'), Just(b' ')], 0..400),
        ],
    ) {
        prop_assert_eq!(damaged(&bytes), bytes.len());
        let mut end = 0;
        for part in parts(&bytes) {
            let Part::Damage { offset, bytes } = part else { unreachable!("all of it is damage") };
            prop_assert_eq!(offset, end);
            end += bytes;
        }
    }

    #[test]
    fn a_damaged_line_of_version_0_1_loses_no_line_but_itself_and_the_next(
        lines in proptest::collection::vec("[ -~]{0,60}", 1..12),
        bits in 1..=u8::MAX,
        place in any::<prop::sample::Index>(),
    ) {
        let written: Vec<String> = lines.iter().map(|json| line(json, 3)).collect();
        let mut bytes = written.concat().into_bytes();
        let at = place.index(bytes.len());
        bytes[at] ^= bits;
        let read = parts(&bytes).filter(|part| matches!(part, Part::List(_, 3))).count();
        let lost = if bits ^ bytes[at] == b'\n' { 2 } else { 1 };
        prop_assert!(read + lost >= lines.len(), "{} of {}", read, lines.len());
    }
}

#[test]
fn a_file_that_claims_the_same_bytes_a_thousand_times_is_read_in_no_time() {
    let header = format!("{}{:08x} {:016x} ", char::from(SEPARATOR), 1 << 20, 0);
    let hostile = header.repeat((1 << 20) / header.len());
    let start = std::time::Instant::now();
    assert_eq!(damaged(hostile.as_bytes()), hostile.len());
    // Summing up what each of them claims would take minutes.
    assert!(
        start.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn frames_and_lines_of_version_0_1_are_told_apart() {
    let mut bytes = line("[1, 2]", 2).into_bytes();
    write(&mut bytes, b"3");
    bytes.extend(line("[4]", 1).into_bytes());
    let found: Vec<Part> = parts(&bytes).collect();
    assert_eq!(
        found,
        [Part::List(b"[1, 2]", 2), Part::Record(b"3"), Part::List(b"[4]", 1)]
    );
}
