//! Builds the plug-in's core module for wasm32, so that `ltr-trainer` carries it and `compile` needs
//! neither Rust nor a network.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";

fn main() {
    let trainer = PathBuf::from(required("CARGO_MANIFEST_DIR"));
    let workspace = trainer.parent().expect("trainer/ lies in the workspace");
    for path in ["forest/src", "forest/Cargo.toml", "plugin-scorer", "wit", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", workspace.join(path).display());
    }
    // A target directory of its own: the outer cargo holds the lock of the other one.
    let target_dir = PathBuf::from(required("OUT_DIR")).join("plugin");
    let status = Command::new(required("CARGO"))
        .current_dir(workspace)
        .args(["build", "--locked", "--package", "plugin-scorer", "--profile", "plugin"])
        .args(["--target", TARGET])
        .arg("--target-dir")
        .arg(&target_dir)
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(workspace))
        .status()
        .unwrap_or_else(|e| panic!("running cargo for the plug-in: {e}"));
    assert!(
        status.success(),
        "the plug-in did not compile for {TARGET}: is the target installed? `make setup` installs it"
    );
    let module = target_dir.join(TARGET).join("plugin").join("plugin_scorer.wasm");
    println!("cargo:rustc-env=LTR_PLUGIN_MODULE={}", module.display());
}

/// Flags of the plug-in: SIMD, and no path of this machine in the module, so that the same sources
/// give the same bytes anywhere.
fn flags(workspace: &Path) -> OsString {
    // Without this pass constants stay in the instructions' offsets: a twentieth of the scoring time.
    let mut flags = OsString::from("-Ctarget-feature=+simd128\x1f-Cllvm-args=-disable-lsr");
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    for (path, name) in [(Some(workspace.to_owned()), "ltr"), (cargo_home, "cargo")] {
        if let Some(path) = path {
            flags.push("\x1f--remap-path-prefix=");
            flags.push(path);
            flags.push("=");
            flags.push(name);
        }
    }
    flags
}

fn required(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name} for build scripts"))
}
