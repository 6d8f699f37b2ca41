//! All headers of a request as Envoy hands them over in one piece.

/// Names and values as proxy-wasm writes them: their number, the lengths of each name and value (all of them 32 bits,
/// little-endian), and then each name and value with a zero byte after it. What is cut short ends the headers.
///
/// proxy-wasm's own reading of it panics on a name that is not UTF-8, and copies all that it finds.
#[derive(Debug, Default)]
pub struct HeaderPairs(Vec<u8>);

impl HeaderPairs {
    pub fn new(bytes: Vec<u8>) -> HeaderPairs {
        HeaderPairs(bytes)
    }

    /// The first value of this name, which is what Envoy gives for it, too.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let (count, rest) = self.0.split_first_chunk()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let (lengths, mut texts) = rest.split_at_checked(count.checked_mul(8)?)?;
        for lengths in lengths.chunks_exact(8) {
            let (found, rest) = text(lengths.first_chunk()?, texts)?;
            let (value, rest) = text(lengths.last_chunk()?, rest)?;
            if found == name.as_bytes() {
                return Some(value);
            }
            texts = rest;
        }
        None
    }
}

/// A text of this length, and what comes after its zero byte.
fn text<'a>(length: &[u8; 4], bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    Some((text, rest.split_first()?.1))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn written(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let length = |text: &[u8]| u32::try_from(text.len()).unwrap().to_le_bytes();
        let mut bytes = length_of(pairs).to_vec();
        for (name, value) in pairs {
            bytes.extend([length(name), length(value)].concat());
        }
        for (name, value) in pairs {
            bytes.extend([name, b"\0".as_slice(), value, b"\0"].concat());
        }
        bytes
    }

    fn length_of(pairs: &[(Vec<u8>, Vec<u8>)]) -> [u8; 4] {
        u32::try_from(pairs.len()).unwrap().to_le_bytes()
    }

    #[test]
    fn a_value_is_found_by_its_name_whatever_bytes_are_around_it() {
        let pairs = [
            (b"\xff\xfe".to_vec(), b"no text".to_vec()),
            (b"x-empty".to_vec(), Vec::new()),
            (b"x-user".to_vec(), b"caf\xe9\0".to_vec()),
            (b"x-user".to_vec(), b"second".to_vec()),
        ];
        let headers = HeaderPairs::new(written(&pairs));
        assert_eq!(headers.get("x-user"), Some(b"caf\xe9\0".as_slice()));
        assert_eq!(headers.get("x-empty"), Some(b"".as_slice()));
        assert_eq!((headers.get("x-use"), headers.get("second")), (None, None));
        assert_eq!(HeaderPairs::default().get("x-user"), None);
    }

    proptest! {
        #[test]
        fn each_first_value_is_found(pairs in vec(("[a-c]{1,2}", any::<Vec<u8>>()), 0..8)) {
            let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
            let headers = HeaderPairs::new(written(&pairs));
            for name in ["a", "b", "ab", "cc", ""] {
                let first = pairs.iter().find(|(found, _)| found == name.as_bytes());
                prop_assert_eq!(headers.get(name), first.map(|(_, value)| value.as_slice()));
            }
        }

        #[test]
        fn nothing_panics(bytes in vec(prop_oneof![Just(0u8), Just(1), Just(255), any::<u8>()], 0..64), name: String) {
            HeaderPairs::new(bytes).get(&name);
        }
    }
}
