//! Remedies for builds that fail for a reason that lies outside the program's source.

/// One line with cause and remedy, worked out from what the compiler and the linker said. `None`: nothing to add.
pub fn of(messages: &str) -> Option<String> {
    let after = |marker: &str| {
        let rest = messages.split_once(marker)?.1;
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_-+.".contains(c))).unwrap_or(rest.len());
        Some(rest[..end].trim_end_matches('.').to_owned()).filter(|name| !name.is_empty())
    };
    if let Some(library) = after("unable to find library -l").or_else(|| after("cannot find -l")) {
        return Some(format!(
            "the program needs the C library `{library}`, and there is no static archive lib{library}.a: an image \
             cannot load libraries; remedy: a feature of the crate that builds it in (often `vendored`, `bundled` \
             or `static`), or the distribution's development package if it holds the archive"
        ));
    }
    if messages.contains("attempted static link of dynamic object") {
        let object = after("attempted static link of dynamic object ")
            .or_else(|| after("attempted static link of dynamic object `"))
            .unwrap_or_else(|| "a shared library".to_owned());
        return Some(format!(
            "the program links {object}, and an image cannot load libraries; remedy: a static archive of it, by a \
             feature of the crate (often `vendored`, `bundled` or `static`)"
        ));
    }
    if messages.contains("linker `cc` not found") || messages.contains("linker `gcc` not found") {
        return Some(
            "the C compiler that links programs is missing; remedy: `sudo apt-get install gcc libc6-dev`"
                .to_owned(),
        );
    }
    if messages.contains("can't find crate for `std`") || messages.contains("can't find crate for `core`") {
        return Some(
            "the project's tool-chain has no standard library for images; remedy: \
             `rustup target add x86_64-unknown-linux-gnu`"
                .to_owned(),
        );
    }
    if messages.contains("--image-base") || messages.contains("-Ttext-segment") {
        let refused = ["unrecognized", "unknown", "not supported", "PHDR segment not covered"];
        if refused.iter().any(|word| messages.contains(word)) {
            return Some(
                "the linker does not take the option that sets the image's address; remedy: say which linker the \
                 project uses by `-Clink-arg=-fuse-ld=lld` or `=bfd` in its rustflags"
                    .to_owned(),
            );
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_without_an_archive_is_named() {
        for text in [
            "rust-lld: error: unable to find library -lssl\n",
            "/usr/bin/ld: cannot find -lssl: No such file",
        ] {
            let line = of(text).unwrap();
            assert!(line.contains("`ssl`") && line.contains("remedy"), "{line}");
        }
        let line = of("rust-lld: error: attempted static link of dynamic object libz.so.1\n").unwrap();
        assert!(line.contains("libz.so.1"), "{line}");
    }

    #[test]
    fn missing_tools_have_their_command() {
        assert!(of("error: linker `cc` not found").unwrap().contains("apt-get"));
        assert!(of("error[E0463]: can't find crate for `std`").unwrap().contains("rustup target add"));
    }

    #[test]
    fn faults_of_the_program_are_left_to_the_compiler() {
        assert_eq!(of("error[E0308]: mismatched types"), None);
        assert_eq!(of(""), None);
    }
}
