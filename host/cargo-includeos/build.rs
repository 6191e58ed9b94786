//! Builds the kernel object that travels inside the tool.

use std::path::Path;
use std::{env, fs, process};

/// What the object is made from, beside `prelink` itself.
const SOURCES: [&str; 7] =
    ["kernel", "drivers", "os", "lib", "Cargo.toml", "Cargo.lock", "host/cargo-includeos/build.rs"];

fn main() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two levels down");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    println!("cargo::rerun-if-env-changed={}", prelink::PROFILE_VARIABLE);
    let out = env::var("OUT_DIR").expect("Cargo sets OUT_DIR");
    let out = Path::new(&out);
    let object = prelink::build(workspace, &out.join("object")).unwrap_or_else(|error| {
        println!("cargo::error={error}");
        process::exit(1);
    });
    fs::write(out.join("kernel.o"), object.bytes).expect("OUT_DIR can be written");
    fs::write(out.join("kernel.id"), object.build_id).expect("OUT_DIR can be written");
}
