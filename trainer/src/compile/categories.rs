//! Recovers which features had pandas' `category` type, and the values of their categories.
//!
//! LightGBM's Python package replaces such a value by its code, its index in a list of categories.
//! The model's last line holds one list per category column, in column order, without the columns'
//! names. The names are inferred from the header's `feature_infos`, as far as these allow:
//!
//! | entry | column |
//! |---|---|
//! | codes separated by colons | split by category |
//! | a range | ordered categories, or plain numbers |
//! | `none` | constant |

use std::collections::BTreeMap;

use rows::{Categories, Category};

/// The categories of a LightGBM text model; `None` if it has no category columns.
///
/// If the columns cannot be identified, the result is `Unclear` with the reason. The model then
/// still works with codes, but not with category values.
pub(super) fn of(model: &[u8]) -> Option<Categories> {
    let lines = || model.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let json = lines()
        .rev()
        .find_map(|line| line.strip_prefix(b"pandas_categorical:"))?;
    if json.trim_ascii() == b"null" {
        return None;
    }
    let lists: Vec<Vec<Category>> = match serde_json::from_slice(json) {
        Ok(lists) => lists,
        Err(error) => {
            return Some(Categories::Unclear(format!(
                "its pandas_categorical line cannot be read: {error}"
            )));
        }
    };
    if lists.is_empty() {
        return None;
    }
    let value = |key: &[u8]| {
        let mut header = lines().take_while(|line| !line.starts_with(b"Tree="));
        header
            .find_map(|line| line.strip_prefix(key))
            .unwrap_or_default()
            .split(|byte| *byte == b' ')
    };
    let names = value(b"feature_names=")
        .filter(|name| !name.is_empty())
        .map(String::from_utf8_lossy);
    let infos = value(b"feature_infos=")
        .filter(|info| !info.is_empty())
        .map(Info::parse);
    let features: Vec<(String, Info)> = names.map(Into::into).zip(infos).collect();
    Some(match assign(&features, &lists) {
        Ok(columns) => Categories::Columns(columns),
        Err(why) => Categories::Unclear(why),
    })
}

/// A feature's entry in `feature_infos`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Info {
    /// Split by category; holds the largest code.
    Categorical(usize),
    /// A range between whole numbers >= 0, which may be codes; holds the largest.
    Range(usize),
    /// At most one distinct value.
    Constant,
    /// A range that cannot be one of codes.
    Numerical,
}

impl Info {
    fn parse(info: &[u8]) -> Info {
        let info = String::from_utf8_lossy(info);
        let whole = |text: &str| {
            text.parse()
                .ok()
                .filter(|number: &f64| *number >= 0.0 && number.fract() == 0.0)
        };
        if info == "none" {
            return Info::Constant;
        }
        match info
            .strip_prefix('[')
            .and_then(|info| info.strip_suffix(']')?.split_once(':'))
        {
            Some((low, high)) => match (whole(low), whole(high)) {
                (Some(_), Some(high)) => Info::Range(high as usize),
                _ => Info::Numerical,
            },
            None => {
                // -1 stands for a missing value.
                let codes = info.split(':').filter_map(|code| code.parse::<i64>().ok());
                Info::Categorical(codes.max().and_then(|code| usize::try_from(code).ok()).unwrap_or(0))
            }
        }
    }

    fn can_have(self, list: &[Category]) -> bool {
        match self {
            Info::Categorical(largest) | Info::Range(largest) => largest < list.len(),
            Info::Constant => true,
            Info::Numerical => false,
        }
    }

    fn must_have(self) -> bool {
        matches!(self, Info::Categorical(_))
    }
}

/// Assigns the lists to features, both in order. Fails unless exactly one assignment is possible.
fn assign(features: &[(String, Info)], lists: &[Vec<Category>]) -> Result<BTreeMap<String, Vec<Category>>, String> {
    let counted = || format!("{} lists of pandas' categories", lists.len());
    if lists.len() > features.len() {
        return Err(format!(
            "the model has {}, but only {} described features",
            counted(),
            features.len()
        ));
    }
    // before[f][l]: the first f features can take exactly the first l lists.
    // after[f][l]: the features from f on can take exactly the lists from l on.
    let rows = features.len() + 1;
    let mut before = vec![vec![false; lists.len() + 1]; rows];
    let mut after = before.clone();
    before[0][0] = true;
    after[rows - 1][lists.len()] = true;
    let takes = |feature: usize, list: usize| features[feature].1.can_have(&lists[list]);
    let passes = |feature: usize| !features[feature].1.must_have();
    for feature in 0..features.len() {
        for list in 0..=lists.len() {
            let taken = list > 0 && before[feature][list - 1] && takes(feature, list - 1);
            before[feature + 1][list] = taken || (before[feature][list] && passes(feature));
        }
    }
    for feature in (0..features.len()).rev() {
        for list in 0..=lists.len() {
            let taken = list < lists.len() && after[feature + 1][list + 1] && takes(feature, list);
            after[feature][list] = taken || (after[feature + 1][list] && passes(feature));
        }
    }
    let mut columns = BTreeMap::new();
    let mut owners = Vec::with_capacity(lists.len());
    for (feature, (name, _)) in features.iter().enumerate() {
        let taken = |list: &usize| before[feature][*list] && takes(feature, *list) && after[feature + 1][*list + 1];
        let mut possible = (0..lists.len()).filter(taken);
        let left = (0..=lists.len()).any(|list| before[feature][list] && passes(feature) && after[feature + 1][list]);
        match (possible.next(), possible.next().is_some() || left) {
            (None, _) => {}
            (Some(list), false) => {
                columns.insert(name.clone(), lists[list].clone());
                owners.push(feature);
            }
            (Some(_), true) => {
                return Err(format!(
                    "the model has {}, but does not say whether {name} has one of them",
                    counted()
                ));
            }
        }
    }
    if columns.len() != lists.len() {
        return Err(format!(
            "the model has {}, but its features cannot have them",
            counted()
        ));
    }
    match other_possible_owner(features, lists, &owners) {
        None => Ok(columns),
        Some(name) => Err(format!(
            "the model has {}, but does not say whether {name} has one of them",
            counted()
        )),
    }
}

/// A feature that may own a list of numbers instead of the feature it was assigned to.
///
/// With an explicit `categorical_feature`, the listed columns may be plain integers, and the trees
/// may then see pandas' category columns as plain codes. Text categories in the wrong column fail
/// when rows are read; numbers would be accepted there, so they must not be guessed.
fn other_possible_owner<'f>(
    features: &'f [(String, Info)],
    lists: &[Vec<Category>],
    owners: &[usize],
) -> Option<&'f str> {
    for (list, owner) in owners.iter().enumerate() {
        if !matches!(features[*owner].1, Info::Categorical(_)) || !are_numbers_unlike_codes(&lists[list]) {
            continue;
        }
        let first = list.checked_sub(1).map_or(0, |before| owners[before] + 1);
        let end = owners.get(list + 1).copied().unwrap_or(features.len());
        // A column usually holds every category, so its codes reach the end of the list.
        let codes = Info::Range(lists[list].len() - 1);
        if let Some((name, _)) = features[first..end].iter().find(|(_, info)| *info == codes) {
            return Some(name);
        }
    }
    None
}

/// Whether all categories are numbers and at least one differs from its code.
fn are_numbers_unlike_codes(list: &[Category]) -> bool {
    let is_text = |category: &Category| matches!(category, Category::Text(_));
    let is_code = |(code, category): (i64, &Category)| match category {
        Category::Integer(number) => *number == code,
        Category::Bool(truth) => i64::from(*truth) == code,
        Category::Large(_) | Category::Float(_) | Category::Text(_) => false,
    };
    !list.is_empty() && !list.iter().any(is_text) && !(0..).zip(list).all(is_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(names: &str, infos: &str, lists: &str) -> Option<Categories> {
        let text = format!(
            "tree\nfeature_names={names}\r\nfeature_infos={infos}\n\nTree=0\nfeature_names=x\n\nend of trees\n\npandas_categorical:{lists}\n"
        );
        of(text.as_bytes())
    }

    /// `feature=number of categories` for each feature that has categories.
    fn columns(names: &str, infos: &str, lists: &str) -> Result<String, String> {
        match model(names, infos, lists).unwrap() {
            Categories::Unclear(why) => Err(why),
            Categories::Columns(columns) => {
                let shown = columns.iter().map(|(name, list)| format!("{name}={}", list.len()));
                Ok(shown.collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn models_without_pandas_have_no_categories() {
        assert_eq!(model("a b", "0:1 [0:1]", "null"), None);
        assert_eq!(model("a b", "0:1 [0:1]", "[]"), None);
        assert_eq!(of(b"tree\nfeature_names=a\nend of trees\n"), None);
    }

    #[test]
    fn a_component_carries_its_models_categories_and_loads() {
        let model = "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=0\nobjective=regression\n\
            feature_names=size\nfeature_infos=0:1\n\nTree=0\nnum_leaves=2\nnum_cat=1\nsplit_feature=0\nsplit_gain=1\nthreshold=0\n\
            decision_type=1\nleft_child=-1\nright_child=-2\nleaf_value=5 -1\nleaf_count=4 4\ninternal_value=0\ninternal_count=8\n\
            cat_boundaries=0 1\ncat_threshold=2\nis_linear=0\nshrinkage=1\n\n\nend of trees\n\n";
        let component = |text: &str| {
            let request = crate::compile::Request {
                model: text.as_bytes(),
                feature_map: None,
                model_version: "1",
                training_window: None,
            };
            crate::compile::compile(&request).unwrap()
        };
        let plain = component(model);
        assert_eq!(runtime::custom_section(&plain, Categories::SECTION), None);
        let with = component(&format!("{model}pandas_categorical:[[10, 20]]\n"));
        assert_eq!(with[..plain.len()], plain);
        let section = runtime::custom_section(&with, Categories::SECTION).unwrap();
        let lists = [("size".to_owned(), vec![Category::Integer(10), Category::Integer(20)])];
        assert_eq!(Categories::from_json(section), Ok(Categories::Columns(lists.into())));
        let engine = runtime::Engine::new(runtime::Limits::default()).unwrap();
        let scorer = engine.load(&with).unwrap();
        assert_eq!(
            scorer
                .score(&[1.0, 0.0], runtime::Output::Raw, testkit::PATIENCE)
                .unwrap(),
            [5.0, -1.0]
        );
    }

    #[test]
    fn lists_are_assigned_to_the_columns_that_can_have_them() {
        // As LightGBM writes categories, a constant, numbers, ordered categories and booleans.
        let lists = r#"[["deep blue", "green", "red"], ["one"], [1, 2, 3, 4], [false, true]]"#;
        assert_eq!(
            columns("c k w o b", "-1:0:1:2 none [-3.5:3.1] [0:2] -1:0:1", lists).unwrap(),
            "b=2 c=3 k=1 o=4"
        );
        assert_eq!(columns("size w", "0:1:2 [-10:10]", "[[10, 20, 30]]").unwrap(), "size=3");
        assert_eq!(columns("w size", "[0:1] 1:0", "[[10, 20, 30]]").unwrap(), "size=3");
        // Categories equal to their codes give the same rows in either column, and text in the
        // wrong column fails when rows are read.
        assert_eq!(columns("a b", "0:1:2 [0:2]", "[[0, 1, 2]]").unwrap(), "a=3");
        assert_eq!(columns("a b", "0:1 [0:1]", r#"[["x", "y"]]"#).unwrap(), "a=2");
        assert_eq!(columns("a b", "[0:1] 0:1", "[[false, true]]").unwrap(), "b=2");
    }

    #[test]
    fn ambiguous_assignments_are_not_guessed() {
        for (infos, lists, part) in [
            ("none none [0.5:1]", r#"[["x"]]"#, "whether a has one"),
            ("[0:1] [0:1] 0:1", r#"[["x", "y"], ["z", "v"]]"#, "whether a has one"),
            ("0:1 0:1 [0:1]", r#"[["x", "y"]]"#, "cannot have them"),
            ("10:20:30 [0.5:1] [0.5:1]", r#"[["x", "y"]]"#, "cannot have them"),
            ("[0.5:1] [0.5:1] [0.5:1]", r#"[["x", "y"]]"#, "cannot have them"),
            (
                "0:1 0:1",
                r#"[["x", "y"], ["x", "y"], ["x", "y"], ["x", "y"]]"#,
                "4 lists",
            ),
            // `a` may be integers declared as categorical, and the list may then belong to `b`.
            (
                "-1:2:0:1 [0:3] [0.5:1]",
                "[[2020, 2021, 2022, 2023]]",
                "whether b has one",
            ),
            ("[0:2] 0:1:2 0:1", r#"[[10, 20, 30], ["x", "y"]]"#, "whether a has one"),
            ("0:1 [0:1] [0:1]", "[[NaN]]", "cannot be read"),
            ("0:1 [0:1] [0:1]", "[[null]]", "cannot be read"),
        ] {
            let why = columns("a b c", infos, lists).unwrap_err();
            assert!(why.contains(part), "{infos}: {why}");
        }
    }
}
