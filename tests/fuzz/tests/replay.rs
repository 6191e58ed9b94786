//! The kept corpora are played. A file that makes a target panic is named.

use std::fs;
use std::panic;
use std::path::Path;

#[test]
fn corpora() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in fuzz_targets::TARGETS {
        let files = fs::read_dir(root.join(name)).unwrap_or_else(|error| panic!("corpus/{name}: {error}"));
        let mut played = 0;
        for file in files {
            let path = file.unwrap().path();
            let octets = fs::read(&path).unwrap();
            if panic::catch_unwind(|| target(&octets)).is_err() {
                panic!("{} panics", path.display());
            }
            played += 1;
        }
        assert!(played > 0, "corpus/{name} is empty");
        println!("{name}: {played} files");
    }
    for folder in fs::read_dir(&root).unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        assert!(fuzz_targets::target(&name).is_some(), "corpus/{name} belongs to no target");
    }
}
