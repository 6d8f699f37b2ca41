//! Compiles the crate again when a migration is added: `sqlx::migrate!` has read the folder only once.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
