//! All headers of a request in the buffer that Envoy provides.

/// Names and values in proxy-wasm's encoding: the number of headers, then the lengths of each name
/// and value (all 32 bits, little-endian), then each name and value followed by a zero byte. A
/// truncated entry ends the headers.
///
/// proxy-wasm's own parser panics on a name that is not UTF-8, and copies every header.
#[derive(Debug, Default)]
pub struct HeaderPairs(Vec<u8>);

impl HeaderPairs {
    /// Takes the bytes as the proxy gives them; they are parsed as they are read.
    pub fn new(bytes: Vec<u8>) -> HeaderPairs {
        HeaderPairs(bytes)
    }

    /// The first value of this name, as Envoy would return it. The length of the name rules out
    /// most headers cheaply; every request looks up several names.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let (count, rest) = self.0.split_first_chunk()?;
        let (lengths, texts) = rest.split_at_checked(length(count)?.checked_mul(8)?)?;
        let mut start = 0_usize;
        for pair in lengths.chunks_exact(8) {
            let (name_length, value_length) = (length(pair.first_chunk()?)?, length(pair.last_chunk()?)?);
            let value_start = start.checked_add(name_length)?.checked_add(1)?;
            let value_end = value_start.checked_add(value_length)?;
            if name_length == name.len() && texts.get(start..)?.starts_with(name.as_bytes()) {
                return texts.get(value_start..value_end);
            }
            start = value_end.checked_add(1)?;
        }
        None
    }
}

fn length(bytes: &[u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn written(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let length = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
        let mut bytes = length(pairs.len()).to_vec();
        for (name, value) in pairs {
            bytes.extend([length(name.len()), length(value.len())].concat());
        }
        for (name, value) in pairs {
            bytes.extend([name, b"\0".as_slice(), value, b"\0"].concat());
        }
        bytes
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
