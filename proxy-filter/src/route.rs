//! Routes: which modes apply to which requests.

/// The modes for requests with this path and method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// `/` for all paths, or a path that begins with a slash and does not end with one.
    pub(crate) path_prefix: String,
    pub(crate) method: String,
    pub(crate) mark: bool,
    pub(crate) mirror: bool,
    pub(crate) score: bool,
}

impl Route {
    /// Whether the route matches a request. The prefix must end where a segment of the path ends.
    pub(crate) fn has(&self, method: &[u8], path: &[u8]) -> bool {
        let rest = without_query(path).strip_prefix(self.path_prefix.as_bytes());
        method == self.method.as_bytes()
            && rest.is_some_and(|rest| self.path_prefix == "/" || matches!(rest.first(), None | Some(b'/')))
    }
}

pub(crate) fn without_query(path: &[u8]) -> &[u8] {
    path.split(|&byte| byte == b'?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(path_prefix: &str) -> Route {
        Route {
            path_prefix: path_prefix.into(),
            method: "POST".into(),
            mark: true,
            mirror: false,
            score: false,
        }
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        let rank = route("/rank");
        for path in ["/rank", "/rank?top=5", "/rank/", "/rank/again?x=/y"] {
            assert!(rank.has(b"POST", path.as_bytes()), "{path}");
        }
        for path in ["/ranking", "/", "", "/ran", "/x/rank", "/?/rank", "/RANK"] {
            assert!(!rank.has(b"POST", path.as_bytes()), "{path}");
        }
        assert!(!rank.has(b"GET", b"/rank") && !rank.has(b"post", b"/rank"));
    }

    proptest! {
        #[test]
        fn the_root_has_every_path(path in any::<Vec<u8>>()) {
            let path = [b"/", path.as_slice()].concat();
            prop_assert!(route("/").has(b"POST", &path));
        }
    }
}
