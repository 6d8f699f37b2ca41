//! Builds the scorer and the Envoy filter as wasm32 core modules and embeds them in `ltr-trainer`.
//!
//! The `compile` command then needs neither Rust nor a network.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// A core module that `compile` embeds a model in.
struct Module {
    package: &'static str,
    target: &'static str,
    /// The environment variable that passes the module's path to `include_bytes!`.
    variable: &'static str,
}

const MODULES: [Module; 2] = [
    Module {
        package: "plugin-scorer",
        target: "wasm32-unknown-unknown",
        variable: "LTR_SCORER_MODULE",
    },
    Module {
        package: "edge-filter",
        target: "wasm32-wasip1",
        variable: "LTR_EDGE_FILTER_MODULE",
    },
];

/// The modules' sources; a change to one of them rebuilds the modules.
const SOURCES: [&str; 13] = [
    "forest/src",
    "forest/Cargo.toml",
    "forest/baked",
    "plugin-scorer",
    "wit",
    "grammar/src",
    "grammar/Cargo.toml",
    "ranking/src",
    "ranking/Cargo.toml",
    "api/src",
    "api/Cargo.toml",
    "proxy-filter",
    "Cargo.lock",
];

fn main() {
    let trainer = PathBuf::from(required("CARGO_MANIFEST_DIR"));
    let workspace = trainer.parent().expect("trainer/ lies in the workspace");
    for path in SOURCES {
        println!("cargo:rerun-if-changed={}", workspace.join(path).display());
    }
    // Start all builds before waiting for one: each ends single-threaded, because the module is
    // compiled as one codegen unit.
    let building = MODULES.map(|module| Building::start(workspace, module));
    for building in building {
        let variable = building.module.variable;
        println!("cargo:rustc-env={variable}={}", building.finish().display());
    }
}

/// A module whose cargo process is running.
struct Building {
    module: Module,
    target_dir: PathBuf,
    cargo: Child,
}

impl Building {
    fn start(workspace: &Path, module: Module) -> Building {
        let Module { package, target, .. } = module;
        // A separate target directory: the outer cargo holds the lock on the workspace's.
        let target_dir = PathBuf::from(required("OUT_DIR")).join(package);
        let cargo = Command::new(required("CARGO"))
            .current_dir(workspace)
            .args(["build", "--locked", "--package", package, "--profile", "plugin"])
            .args(["--target", target])
            .arg("--target-dir")
            .arg(&target_dir)
            .env_remove("RUSTFLAGS")
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .env("CARGO_ENCODED_RUSTFLAGS", flags(workspace))
            .spawn()
            .unwrap_or_else(|e| panic!("running cargo for {package}: {e}"));
        Building {
            module,
            target_dir,
            cargo,
        }
    }

    fn finish(mut self) -> PathBuf {
        let Module { package, target, .. } = self.module;
        let status = self.cargo.wait();
        assert!(
            status.is_ok_and(|status| status.success()),
            "{package} did not compile for {target}: is the target installed? `make setup` installs it"
        );
        let file = format!("{}.wasm", package.replace('-', "_"));
        self.target_dir.join(target).join("plugin").join(file)
    }
}

/// Compiler flags for the modules: SIMD on, and local paths remapped, so that the same sources give
/// the same bytes on every machine.
fn flags(workspace: &Path) -> OsString {
    // Loop strength reduction moves constants out of the instructions' offsets; disabling it saves
    // 5 % of the scoring time.
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
