//! What the pages of a Parquet file expand to, counted before they are read.
//!
//! A page says how long it is once unpacked. The reader allocates that much, and some of its codecs go on beyond it for
//! as long as the data does: a few kilobytes can become gigabytes. So each page that will be read has its header looked
//! at first, and where its codec does not stop by itself, the page is unpacked into nothing and counted.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use parquet::basic::{Compression, Type};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::too_many;
use crate::MAX_VALUES;
use crate::columns::Column;
use crate::error::ReadError;

/// Longest page, unpacked: 33 million numbers. Programs write pages of about a megabyte.
const MAX_PAGE_BYTES: u64 = 256 << 20;
/// The same of texts, which the reader may repeat within a batch.
const MAX_TEXT_PAGE_BYTES: u64 = 16 << 20;
/// Deepest nesting in a page's header that is passed over.
const MAX_DEPTH: u32 = 16;

/// How many rows the file says that it has.
pub(super) fn check(file: &File, metadata: &ParquetMetaData, columns: &[Column]) -> Result<usize, ReadError> {
    let mut rows = 0_usize;
    for group in metadata.row_groups() {
        let more =
            usize::try_from(group.num_rows()).map_err(|_| damaged("a row group has a negative number of rows"))?;
        rows = rows.saturating_add(more);
    }
    if rows.saturating_mul(columns.len()) > MAX_VALUES {
        return Err(too_many(rows, columns.len()));
    }
    let schema = metadata.file_metadata().schema_descr();
    for group in metadata.row_groups() {
        for (leaf, chunk) in group.columns().iter().enumerate() {
            let root = schema.get_column_root_idx(leaf);
            if let Some(column) = columns.iter().find(|column| column.at == root) {
                check_chunk(file, chunk).map_err(|error| error.of(column.wanted))?;
            }
        }
    }
    Ok(rows)
}

fn damaged(what: &str) -> ReadError {
    ReadError::Parquet(what.to_owned())
}

/// Why a column is not read.
enum Error {
    Io(io::Error),
    Damaged(&'static str),
    /// A page of so many bytes; allowed: at most so many.
    Large(u64, u64),
    /// A page that is larger than it says.
    Grows(u64),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

impl Error {
    fn of(self, column: &str) -> ReadError {
        let name = Some(column.to_owned());
        match self {
            Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                ReadError::Parquet(format!("column {column} ends within a page"))
            }
            Error::Io(error) => ReadError::Io(error),
            Error::Damaged(what) => ReadError::Parquet(format!("column {column} has {what}")),
            Error::Large(size, most) => {
                let value = format!("a page of {size} bytes");
                ReadError::refused(
                    0,
                    name,
                    &value,
                    format!("pages of at most {most} bytes; write smaller ones"),
                )
            }
            Error::Grows(declared) => {
                let value = format!("a page that expands to more than the {declared} bytes it declares");
                ReadError::refused(0, name, &value, "pages as long as they declare")
            }
        }
    }
}

fn check_chunk(file: &File, chunk: &ColumnChunkMetaData) -> Result<(), Error> {
    let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    let start = u64::try_from(start).map_err(|_| Error::Damaged("a negative offset"))?;
    let mut left = u64::try_from(chunk.compressed_size()).map_err(|_| Error::Damaged("a negative length"))?;
    let most = match chunk.column_type() {
        Type::BYTE_ARRAY => MAX_TEXT_PAGE_BYTES,
        _ => MAX_PAGE_BYTES,
    };
    let mut file = BufReader::with_capacity(1 << 16, file);
    file.seek(SeekFrom::Start(start))?;
    while left > 0 {
        let mut reader = Thrift {
            input: &mut file,
            taken: 0,
        };
        let page = reader.page()?;
        let packed = reader.taken.saturating_add(page.packed);
        left = left.checked_sub(packed).ok_or(Error::Damaged("pages beyond its end"))?;
        if page.unpacked > most {
            return Err(Error::Large(page.unpacked, most));
        }
        let mut body = (&mut file).take(page.packed);
        io::copy(&mut (&mut body).take(page.levels), &mut io::sink())?;
        if page.compressed
            && grows(
                &mut body,
                chunk.compression(),
                page.unpacked.saturating_sub(page.levels),
            )
        {
            return Err(Error::Grows(page.unpacked));
        }
        let rest = i64::try_from(body.limit()).map_err(|_| Error::Damaged("pages beyond its end"))?;
        file.seek_relative(rest)?;
    }
    Ok(())
}

/// Whether a page unpacks to more than it declares. The codecs that are not here stop by themselves; data that cannot be
/// unpacked is left to the reader.
fn grows(packed: &mut impl Read, codec: Compression, declared: u64) -> bool {
    let unpacked: &mut dyn Read = match codec {
        Compression::GZIP(_) => &mut flate2::read::MultiGzDecoder::new(packed),
        Compression::BROTLI(_) => &mut brotli::Decompressor::new(packed, 4096),
        // Frames are one of the three things that files under this name hold.
        Compression::LZ4 => &mut lz4_flex::frame::FrameDecoder::new(packed),
        _ => return false,
    };
    let mut counted = 0;
    let mut buffer = [0; 8192];
    while counted <= declared {
        match unpacked.read(&mut buffer) {
            Ok(0) | Err(_) => return false,
            Ok(more) => counted += more as u64,
        }
    }
    true
}

/// What the header of a page says.
#[derive(Default)]
struct Page {
    packed: u64,
    unpacked: u64,
    /// Bytes at the start that are never compressed.
    levels: u64,
    compressed: bool,
}

/// Reads Thrift's compact protocol, in which the headers of pages are written.
struct Thrift<R> {
    input: R,
    taken: u64,
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const STRUCT: u8 = 12;

impl<R: Read> Thrift<R> {
    /// `PageHeader` of parquet.thrift.
    fn page(&mut self) -> Result<Page, Error> {
        let (mut packed, mut unpacked) = (None, None);
        let mut page = Page {
            compressed: true,
            ..Page::default()
        };
        let mut id = 0;
        while let Some(kind) = self.field(&mut id)? {
            match id {
                2 => unpacked = Some(self.size()?),
                3 => packed = Some(self.size()?),
                8 if kind == STRUCT => self.second_version(&mut page)?,
                _ => self.skip(kind, 0)?,
            }
        }
        let missing = Error::Damaged("a page without a length");
        (page.packed, page.unpacked) = packed.zip(unpacked).ok_or(missing)?;
        Ok(page)
    }

    /// `DataPageHeaderV2`, whose levels are not compressed.
    fn second_version(&mut self, page: &mut Page) -> Result<(), Error> {
        let mut id = 0;
        while let Some(kind) = self.field(&mut id)? {
            match id {
                5 | 6 => page.levels += self.size()?,
                7 => page.compressed = kind == TRUE,
                _ => self.skip(kind, 0)?,
            }
        }
        Ok(())
    }

    /// The next field's kind, with its number put in the place of the one before; `None` at the end.
    fn field(&mut self, id: &mut i64) -> Result<Option<u8>, Error> {
        let byte = self.byte()?;
        if byte == 0 {
            return Ok(None);
        }
        *id = match byte >> 4 {
            0 => self.integer()?,
            delta => *id + i64::from(delta),
        };
        Ok(Some(byte & 0x0f))
    }

    fn size(&mut self) -> Result<u64, Error> {
        let size = i32::try_from(self.integer()?).ok();
        let size = size.and_then(|size| u64::try_from(size).ok());
        size.ok_or(Error::Damaged("a page of a negative length"))
    }

    fn integer(&mut self) -> Result<i64, Error> {
        let zigzag = self.unsigned()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    fn unsigned(&mut self) -> Result<u64, Error> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Error::Damaged("a number without an end"))
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        self.taken += 1;
        Ok(byte[0])
    }

    fn pass(&mut self, bytes: u64) -> Result<(), Error> {
        let passed = io::copy(&mut (&mut self.input).take(bytes), &mut io::sink())?;
        self.taken += passed;
        if passed == bytes {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
        }
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Damaged("a page whose header is nested too deeply"));
        }
        match kind {
            TRUE | FALSE => Ok(()),
            3 => self.pass(1),
            4..=6 => self.unsigned().map(drop),
            7 => self.pass(8),
            8 => self.unsigned().and_then(|length| self.pass(length)),
            9 | 10 => {
                let byte = self.byte()?;
                let count = match byte >> 4 {
                    15 => self.unsigned()?,
                    count => count.into(),
                };
                (0..count).try_for_each(|_| self.skip_element(byte & 0x0f, depth + 1))
            }
            11 => {
                let count = self.unsigned()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                (0..count).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth + 1)?;
                    self.skip_element(kinds & 0x0f, depth + 1)
                })
            }
            STRUCT => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, depth + 1)?;
                }
                Ok(())
            }
            _ => Err(Error::Damaged("a page with an unknown header")),
        }
    }

    /// In a list, unlike in a field, a boolean is a byte.
    fn skip_element(&mut self, kind: u8, depth: u32) -> Result<(), Error> {
        match kind {
            TRUE | FALSE => self.pass(1),
            kind => self.skip(kind, depth),
        }
    }
}
