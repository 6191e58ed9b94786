//! Text files: no left-overs of debugging, no blanks that nobody sees.

use super::Tree;
use std::path::Path;

/// Macros that are not to be merged. Written in two parts, so that this file does not contain them.
const LEFTOVERS: &[(&str, &str)] = &[("dbg", "!("), ("todo", "!("), ("unimplemented", "!(")];

/// No Rust file has a macro that stands for work not done, also where the lints do not look (other `cfg`s).
pub fn check_leftovers(tree: &Tree, faults: &mut Vec<String>) {
    for (path, text) in &tree.files {
        if path.extension().is_some_and(|extension| extension == "rs") {
            leftovers(path, text, faults);
        }
    }
}

fn leftovers(path: &Path, text: &str, faults: &mut Vec<String>) {
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        for (name, call) in LEFTOVERS {
            if code.contains(&[*name, *call].concat()) {
                faults.push(format!("{}:{}: {name}! is left over", path.display(), number + 1));
            }
        }
    }
}

/// Every text file ends with one line end and has no tab, no carriage return and no blank at the end of a line.
pub fn check_blanks(tree: &Tree, faults: &mut Vec<String>) {
    for (path, text) in &tree.files {
        blanks(path, text, faults);
    }
}

fn blanks(path: &Path, text: &str, faults: &mut Vec<String>) {
    let name = path.display();
    if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
        faults.push(format!("{name}: does not end with one line end"));
    }
    // make gives tabs a meaning.
    let tabs_allowed = path.file_name().is_some_and(|name| name == "Makefile");
    for (number, line) in text.split('\n').enumerate() {
        let number = number + 1;
        if line.ends_with([' ', '\t']) {
            faults.push(format!("{name}:{number}: blanks at the end of the line"));
        } else if line.contains('\r') {
            faults.push(format!("{name}:{number}: carriage return"));
        } else if line.contains('\t') && !tabs_allowed {
            faults.push(format!("{name}:{number}: tab"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(check: fn(&Path, &str, &mut Vec<String>), name: &str, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        check(Path::new(name), text, &mut faults);
        faults
    }

    #[test]
    fn blanks_are_found() {
        assert_eq!(faults(blanks, "a", "fine\n\nfine\n"), Vec::<String>::new());
        assert_eq!(faults(blanks, "a", ""), Vec::<String>::new());
        assert_eq!(faults(blanks, "a", "x"), ["a: does not end with one line end"]);
        assert_eq!(faults(blanks, "a", "x\n\n"), ["a: does not end with one line end"]);
        assert_eq!(faults(blanks, "a", "x \n"), ["a:1: blanks at the end of the line"]);
        assert_eq!(faults(blanks, "a", "x\n\ty\n"), ["a:2: tab"]);
        assert_eq!(faults(blanks, "a", "x\r\n"), ["a:1: carriage return"]);
        assert_eq!(faults(blanks, "Makefile", "x:\n\ty\n"), Vec::<String>::new());
    }

    #[test]
    fn leftovers_are_found_outside_of_comments() {
        let text = ["fn f() {", "    dbg", "!(1); // todo", "!(later)", "\n}\n"].concat();
        assert_eq!(faults(leftovers, "a.rs", &text), ["a.rs:1: dbg! is left over"]);
    }
}
