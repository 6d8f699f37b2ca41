//! What is no model is refused with the line, the key and what was expected; nothing panics.

use forest::{Model, pack};
use proptest::prelude::*;

use crate::generator::{Random, model_text};
use crate::shapes::shapes;

const MODEL: &str = "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=1\nobjective=regression\nfeature_names=a b\nfeature_infos=[0:1] [0:1]\ntree_sizes=TOTAL\n\nTree=0\nnum_leaves=3\nnum_cat=1\nsplit_feature=0 1\nsplit_gain=1 1\nthreshold=0.25 0\ndecision_type=2 1\nleft_child=1 -2\nright_child=-1 -3\nleaf_value=0.5 -1e-3 7\nleaf_weight=1 1 1\ncat_boundaries=0 1\ncat_threshold=6\nis_linear=0\nshrinkage=1\n\n\nend of trees\n\npandas_categorical:null\n";

fn model() -> String {
    let size = MODEL.find("end of trees").unwrap() - MODEL.find("Tree=0").unwrap();
    MODEL.replace("TOTAL", &size.to_string())
}

/// The model without `tree_sizes`, so that a line may change its length, with one text replaced.
fn changed(from: &str, to: &str) -> String {
    let text = MODEL.replace("tree_sizes=TOTAL\n", "");
    assert!(text.contains(from), "{from} is in the model");
    text.replacen(from, to, 1)
}

#[test]
fn what_a_model_says_about_itself() {
    let model = Model::parse(model().as_bytes()).unwrap();
    assert_eq!(
        (model.num_features(), model.num_outputs(), model.num_trees()),
        (2, 1, 1)
    );
    assert_eq!(model.feature_names(), ["a", "b"]);
    assert_eq!(model.objective(), "regression");
}

/// What a model computes: its image.
fn image(text: impl AsRef<[u8]>) -> Vec<u8> {
    pack(&Model::parse(text.as_ref()).unwrap(), None)
}

fn refusal(text: impl AsRef<[u8]>) -> String {
    Model::parse(text.as_ref()).unwrap_err().to_string()
}

#[test]
fn whatever_line_ends_became_the_same_model_is_read() {
    let text = model();
    for other in [
        text.replace('\n', "\r\n"),
        text.replace('\n', "\r"),
        text.replace('\n', "\r\r\n"),
        text.replacen("\n", "\r\n", 12),
        format!("\u{feff}{text}"),
        format!("\u{feff}{}", text.replace('\n', "\r\n")),
        format!("{text}\0"),
        text.trim_end().to_owned(),
        text.replacen("version=v4", "version = v4  ", 1),
        text.replacen("objective=regression", "objective = regression ", 1),
    ] {
        assert_eq!(image(&other), image(&text), "{other:?}");
    }
}

#[test]
fn a_flag_and_an_objective_are_read_with_blanks_around_them() {
    let base = changed("objective=regression\n", "objective=poisson\naverage_output\n");
    for (from, to) in [
        ("average_output\n", "average_output \n"),
        ("average_output\n", " average_output\n"),
        ("objective=poisson", "objective = poisson"),
    ] {
        assert_eq!(image(base.replacen(from, to, 1)), image(&base), "{to:?}");
    }
}

#[test]
fn latin_1_is_read_where_nothing_of_it_is_needed_and_named_where_it_is() {
    let latin = |from: &str, to: &[u8]| {
        let text = model();
        let at = text.find(from).unwrap();
        [&text.as_bytes()[..at], to, &text.as_bytes()[at + from.len()..]].concat()
    };
    let in_parameters = latin(
        "end of trees\n",
        b"end of trees\n\nparameters:\n[data: caf\xE9]\nend of parameters\n",
    );
    assert_eq!(image(in_parameters), image(model()));
    let in_names = refusal(latin("feature_names=a b", b"feature_names=a caf\xE9"));
    assert_eq!(
        in_names,
        "line 8: feature_names: byte 20 of the line, in `caf\\xe9`, is no UTF-8: expected UTF-8; \
         if the file is in Latin-1, convert it (iconv -f LATIN1 -t UTF-8)"
    );
}

#[test]
fn what_is_no_text_model_is_called_by_its_name() {
    let utf_16: Vec<u8> = "\u{feff}tree\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let commented = format!("# my model\n{}", model());
    let quoted = format!("{:?}", model());
    for (file, kind) in [
        (b"".as_slice(), "an empty file"),
        (b"\r\n\n", "an empty file"),
        (b"\x1F\x8B\x08\0\0", "gzip"),
        (b"\x80\x04\x95\0\0\0", "pickle"),
        (b"PK\x03\x04\0", "zip"),
        (b"\0asm\x0d\0\x01\0", "WebAssembly"),
        (b"{\"name\":\"tree\",\"version\":\"v4\"}", "JSON"),
        (quoted.as_bytes(), "a quoted string"),
        (&utf_16, "UTF-16"),
        (commented.as_bytes(), "its first line is `# my model`"),
        (b"version=v4\nnum_class=1\n", "its first line is `version=v4`"),
        (b"\x01\0\0\0", "a binary file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<!DOCTYPE html>\n", "a web page"),
    ] {
        let error = refusal(file);
        assert!(error.contains(kind), "{error}");
        assert!(error.contains("Booster.save_model"), "{error}");
    }
}

#[test]
fn a_nul_inside_is_refused_with_its_line() {
    let error = refusal(model().replacen("a b", "a\0b", 1).replace('\n', "\r\n"));
    assert_eq!(error, "line 8: tree: a NUL is no text: the file is damaged");
}

/// So many constant trees, as LightGBM numbers and measures them.
fn constant_trees(count: usize) -> (String, Vec<String>, String) {
    let trees: Vec<String> = (0..count)
        .map(|number| format!("Tree={number}\nnum_leaves=1\nnum_cat=0\nleaf_value={number}\nshrinkage=1\n\n\n"))
        .collect();
    let sizes: Vec<String> = trees.iter().map(|tree| tree.len().to_string()).collect();
    let header = format!(
        "tree\nversion=v4\nnum_class=1\nmax_feature_idx=0\nfeature_names=x\ntree_sizes={}\n\n",
        sizes.join(" ")
    );
    (header, trees, "end of trees\n".to_owned())
}

#[test]
fn trees_that_were_taken_out_doubled_or_moved_are_noticed() {
    let (header, trees, end) = constant_trees(3);
    let text = |order: &[usize]| {
        let trees: String = order.iter().map(|&at| trees[at].as_str()).collect();
        format!("{header}{trees}{end}")
    };
    assert!(Model::parse(text(&[0, 1, 2]).as_bytes()).is_ok());
    let unmeasured = |order: &[usize]| {
        let (whole, sizes) = (text(order), header.lines().nth(5).unwrap());
        whole.replacen(&format!("{sizes}\n"), "", 1)
    };
    assert!(Model::parse(unmeasured(&[0, 1, 2]).as_bytes()).is_ok());
    for (order, expected) in [
        (&[0][..], "line 6: tree_sizes: lists 3 trees, the text has 1:"),
        (&[], "lists 3 trees, the text has 0:"),
        (&[0, 1, 1, 2], "lists 3 trees, the text has 4:"),
        (
            &[0, 2, 1],
            "line 15: Tree=: `Tree=2`: expected `Tree=1`: trees are missing, doubled or out of order",
        ),
        (&[0, 1, 1], "`Tree=1`: expected `Tree=2`"),
        (&[1, 2, 2], "`Tree=1`: expected `Tree=0`"),
    ] {
        let error = refusal(text(order));
        assert!(error.contains(expected), "{order:?}: {error}");
        let in_order = (0..order.len()).eq(order.iter().copied());
        assert!(
            in_order || refusal(unmeasured(order)).contains("expected `Tree="),
            "{order:?}"
        );
    }
    let edited = text(&[0, 1, 2]).replacen("leaf_value=1", "leaf_value=1.5", 1);
    let error = refusal(edited);
    assert!(
        error.contains("tree_sizes: says that tree 1 (line 15) has 57 bytes, it has 59: the text was edited"),
        "{error}"
    );
    let edited = text(&[0, 1, 2]).replacen("leaf_value=2", "leaf_value=2.5", 1);
    assert!(
        refusal(edited).contains("tree 2 (line 22) has"),
        "the last tree is measured, too"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn each_fault_is_named() {
    let faults = [
        ("tree\n", "forest\n", "line 1: tree: not a LightGBM text model"),
        (
            "feature_names=a b",
            "feature_names=a a",
            "feature_names: `a` is column 0 and column 1",
        ),
        ("version=v4", "version=v5", "version: `v5`: expected v2, v3 or v4"),
        ("num_class=1\n", "", "num_class: missing"),
        ("num_class=1\n", "num_class=x\n", "num_class: `x`"),
        (
            "num_class=1\n",
            "num_class=1\nnum_class=1\n",
            "num_class: given twice, first on line 3",
        ),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=0", "expected 1 to"),
        (
            "num_tree_per_iteration=1",
            "num_tree_per_iteration=2",
            "expected num_class",
        ),
        ("max_feature_idx=1", "max_feature_idx=-1", "max_feature_idx: `-1`"),
        (
            "max_feature_idx=1",
            "max_feature_idx=2000000000",
            "feature_names: 2 names",
        ),
        (
            "max_feature_idx=1",
            "max_feature_idx=18446744073709551615",
            "feature_names: 2 names",
        ),
        (
            "objective=regression",
            "objective=multiclass num_class:3",
            "objective: `multiclass num_class:3`",
        ),
        ("objective=regression", "objective=binary sigmoid:-1", "sigmoid:S"),
        (
            "objective=regression",
            "objective=focal_loss alpha:0.25",
            "line 7: objective: `focal_loss alpha:0.25`: expected an objective that LightGBM knows (regression, ",
        ),
        (
            "objective=regression",
            "objective=",
            "objective: ``: expected an objective",
        ),
        ("num_leaves=3", "num_leaves=0", "num_leaves: 0"),
        (
            "num_leaves=3",
            "num_leaves=2000000000",
            "leaf_value: 3 values: expected 2000000000",
        ),
        ("num_leaves=3", "num_leaves=4", "leaf_value: 3 values: expected 4"),
        ("num_cat=1\n", "", "num_cat: missing"),
        ("num_cat=1\n", "num_cat=18446744073709551615\n", "cat_boundaries: "),
        (
            "split_feature=0 1",
            "split_feature=0 2",
            "feature 2: expected a number below 2",
        ),
        ("threshold=0.25 0", "threshold=0,25 0", "`0,25`: expected a number"),
        ("threshold=0.25 0", "threshold=nan 0", "threshold: nan"),
        ("threshold=0.25 0", "threshold=0.25 1", "bitset number below 1"),
        ("decision_type=2 1", "decision_type=2 300", "decision_type: `300`"),
        (
            "decision_type=2 1",
            "decision_type=2 17",
            "decision_type: 17: expected 0 to 15",
        ),
        (
            "decision_type=2 1",
            "decision_type=-2 1",
            "decision_type: -2: expected 0 to 15",
        ),
        ("left_child=1 -2", "left_child=0 -2", "not a tree"),
        ("left_child=1 -2", "left_child=-3 -2", "not a tree"),
        ("left_child=1 -2", "left_child=2 -2", "expected -3 to 1"),
        ("left_child=1 -2", "left_child=-2147483648 -2", "expected -3 to 1"),
        (
            "leaf_value=0.5 -1e-3 7",
            "leaf_value=0.5 -1e-3",
            "leaf_value: 2 values: expected 3",
        ),
        ("cat_boundaries=0 1", "cat_boundaries=1 1", "begin at 0"),
        (
            "cat_boundaries=0 1",
            "cat_boundaries=0 4000000000",
            "cat_threshold: 1 values",
        ),
        (
            "is_linear=0",
            "is_linear=1\nnum_features=1 0 0\nleaf_features=2\nleaf_coeff=1",
            "feature 2",
        ),
        (
            "is_linear=0",
            "is_linear=1\nnum_features=4294967295 4294967295 0\nleaf_features=2\nleaf_coeff=1",
            "expected 8589934590",
        ),
        ("end of trees\n\npandas_categorical:null\n", "", "cut short"),
        (
            "end of trees\n",
            "end of trees\n\nparameters:\n[seed: 1]\n",
            "end of parameters: no such line",
        ),
    ];
    for (from, to, expected) in faults {
        let error = Model::parse(changed(from, to).as_bytes())
            .expect_err(expected)
            .to_string();
        assert!(error.starts_with("line ") && error.contains(expected), "{to}: {error}");
    }
}

#[test]
fn a_model_cut_inside_its_trees_is_refused() {
    let text = model();
    let end = text.find("end of trees").unwrap() + "end of trees".len();
    for length in 0..end {
        assert!(Model::parse(&text.as_bytes()[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn trees_that_are_not_where_tree_sizes_says_are_refused() {
    let text = model().replace(
        "shrinkage=1\n\n\n",
        "shrinkage=1\n\n\nTree=1\nnum_leaves=1\nnum_cat=0\nleaf_value=1\n\n\n",
    );
    let error = Model::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("tree_sizes: lists 1 trees, the text has 2"), "{error}");
}

#[test]
fn numbers_are_correctly_rounded() {
    let text = changed("leaf_value=0.5 -1e-3 7", "leaf_value=0.1 1.0000000180025095e-35 -INF");
    let model = Model::parse(text.as_bytes()).unwrap();
    let mut score = [0.0];
    forest::oracle::score(&model, &[1.0, 0.0], forest::Output::Raw, &mut score);
    assert_eq!(score, [0.1]);
    forest::oracle::score(&model, &[0.0, 1.0], forest::Output::Raw, &mut score);
    assert_eq!(score, [f64::from(1e-35_f32)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn garbled_models_never_panic(shape in shapes(), seed: u64) {
        let mut random = Random(seed);
        let mut text = model_text(&shape).0.into_bytes();
        for _ in 0..1 + random.below(4) {
            let at = random.below(text.len());
            match random.below(4) {
                0 => text[at] = random.next() as u8,
                1 => text[at] = random.pick(b"0123456789-=. \n"),
                2 => drop(text.remove(at)),
                _ => text.insert(at, random.pick(b"0123456789-=. \n")),
            }
        }
        if let Ok(model) = Model::parse(&text) {
            pack(&model, None);
        }
    }

    #[test]
    fn line_ends_and_a_byte_order_mark_change_nothing(shape in shapes(), seed: u64, marked: bool) {
        let mut random = Random(seed);
        let text = model_text(&shape).0;
        let mut other = String::from(if marked { "\u{feff}" } else { "" });
        for line in text.split_inclusive('\n') {
            other.push_str(line.strip_suffix('\n').unwrap_or(line));
            other.push_str(random.pick(&["\n", "\r\n"]));
        }
        prop_assert_eq!(image(&other), image(&text));
        prop_assert_eq!(image(text.replace('\n', "\r")), image(&text));
    }

    #[test]
    fn a_model_cut_anywhere_before_its_end_is_refused(shape in shapes(), place: prop::sample::Index) {
        let text = model_text(&shape).0;
        let end = text.find("\nend of trees").unwrap() + "\nend of trees".len();
        let parameters = text.find("\nparameters:").unwrap() + "\nparameters:".len()..text.rfind("meters").unwrap();
        let length = place.index(end + parameters.len());
        let length = if length < end { length } else { parameters.start + length - end };
        prop_assert!(Model::parse(&text.as_bytes()[..length]).is_err(), "{} bytes", length);
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Model::parse(&bytes).is_err());
    }
}
