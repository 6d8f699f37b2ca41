//! The configurations of the root contexts in a virtual machine. Envoy does not report the end of a
//! context to `edge-mark.wasm`.

use std::rc::Rc;

use crate::exchange::Filter;

/// Configurations by the id of their root context. There is one per listener that shares the
/// virtual machine. Replaced ones stay until their requests have ended.
#[derive(Debug, Default)]
pub struct Roots(Vec<(u32, Rc<Filter>)>);

impl Roots {
    /// Adds a configuration and drops those whose context Envoy has deleted, so that memory stays
    /// bounded.
    pub fn add(&mut self, root: u32, filter: Filter, is_there: impl Fn(u32) -> bool) {
        self.0.retain(|(old, _)| *old != root && is_there(*old));
        self.0.push((root, Rc::new(filter)));
    }

    /// `None` if Envoy has not configured the context, or the filter rejected the configuration.
    pub fn get(&self, root: u32) -> Option<&Rc<Filter>> {
        self.0.iter().find(|(id, _)| *id == root).map(|(_, filter)| filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn filter() -> Filter {
        let json = br#"{"sampling": {"salt": "s", "fraction": 0.1},
                        "routes": [{"path_prefix": "/", "method": "GET", "modes": ["mark"]}]}"#;
        Filter::new(Config::read(json, |_| None).unwrap(), None)
    }

    #[test]
    fn a_configuration_stays_as_long_as_its_context() {
        let mut roots = Roots::default();
        roots.add(1, filter(), |_| true);
        roots.add(2, filter(), |_| true);
        let first = roots.get(1).unwrap().clone();
        roots.add(9, filter(), |root| root != 2);
        assert!(Rc::ptr_eq(roots.get(1).unwrap(), &first));
        assert!(roots.get(2).is_none() && roots.get(9).is_some() && roots.get(3).is_none());
    }

    #[test]
    fn updates_do_not_pile_up() {
        let mut roots = Roots::default();
        for root in 0..1_000 {
            // The previous context still has requests.
            roots.add(root, filter(), |old| old + 1 == root);
            assert!(roots.0.len() <= 2, "{} after {root}", roots.0.len());
        }
    }

    #[test]
    fn a_context_that_is_configured_again_has_the_newer_configuration() {
        let mut roots = Roots::default();
        roots.add(1, filter(), |_| true);
        let first = roots.get(1).unwrap().clone();
        roots.add(1, filter(), |_| true);
        assert!(!Rc::ptr_eq(roots.get(1).unwrap(), &first));
    }
}
