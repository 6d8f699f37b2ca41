//! Rows to score, as an Arrow IPC stream: bounded by the limit on rows and by the bytes that came. Together with
//! `-malloc_limit_mb` no allocation is far beyond a stream's size.
#![no_main]

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use arrow::ipc::writer::StreamWriter;
use libfuzzer_sys::fuzz_target;
use ltr_host::routes::score::arrow::arrow_rows;
use ranking::Schema;

const MAX_ROWS: usize = 1000;
static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::new(["geo", "price"]).expect("two names"));
static VALID: LazyLock<Vec<u8>> = LazyLock::new(valid);

fuzz_target!(|body: &[u8]| {
    check(body);
    // Out of nothing a fuzzer makes no flatbuffer: here its bytes change a stream that is one.
    let mut stream = VALID.clone();
    for edit in body.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % stream.len();
        stream[at] = edit[2];
    }
    check(&stream);
});

fn check(stream: &[u8]) {
    let Ok(rows) = arrow_rows(stream, &SCHEMA, MAX_ROWS) else {
        return;
    };
    assert!(rows.len() <= MAX_ROWS);
    assert!(rows.iter().all(|row| row.len() == SCHEMA.len()));
    // Each value is eight bytes of the stream's own, shared with no other.
    assert!(rows.len() * SCHEMA.len() * 8 <= stream.len());
}

/// Two batches, with missing values.
fn valid() -> Vec<u8> {
    let geo: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.5), None, Some(-0.0)]));
    let price: ArrayRef = Arc::new(Float64Array::from(vec![None, Some(f64::MAX), Some(7.0)]));
    let batch = RecordBatch::try_from_iter([("price", price), ("geo", geo)]).expect("columns of one length");
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a Vec takes every write");
    writer.write(&batch).expect("a Vec takes every write");
    writer.write(&batch).expect("a Vec takes every write");
    writer.into_inner().expect("a Vec takes every write")
}
