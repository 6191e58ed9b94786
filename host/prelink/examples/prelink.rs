//! Makes the kernel object alone: `cargo run -p includeos-prelink --example prelink -- OUT.o`.

use std::path::Path;

fn main() {
    let out = std::env::args().nth(1).expect("usage: prelink OUT.o");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two levels down");
    let scratch = workspace.join("target").join("object");
    match prelink::build(workspace, &scratch) {
        Ok(object) => std::fs::write(&out, object.bytes).expect("the output can be written"),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}
