//! Custom sections: what a component carries beside its code, for tools. Its hash and its signature cover them.

use wasmparser::{Parser, Payload};

/// The content of the component's own section of this name; `None`: there is none, or it is no component. If there are
/// several, it is the first.
pub fn custom_section<'a>(component: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload.ok()? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == name => return Some(section.data()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_components_own_section_counts() {
        // A component: its header. A section: its id, its length, and of a custom one the length of its name.
        let header = b"\0asm\x0d\0\x01\0";
        let section = |content: &str| [b"\0\x08\x05ltr:x", content.as_bytes()].concat();
        let module = [b"\0asm\x01\0\0\0".to_vec(), section("in")].concat();
        let mut component = [header.to_vec(), vec![1, module.len() as u8], module].concat();
        assert_eq!(custom_section(&component, "ltr:x"), None);
        component.extend(section("ab"));
        component.extend(section("cd"));
        assert_eq!(custom_section(&component, "ltr:x"), Some(&b"ab"[..]));
        assert_eq!(custom_section(&component, "ltr:y"), None);
        assert_eq!(custom_section(b"tree\n", "ltr:x"), None);
    }
}
