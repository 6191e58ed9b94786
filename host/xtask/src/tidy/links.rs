//! Relative links of Markdown files lead to files that exist.

use super::Tree;
use crate::repo;
use std::path::Path;

pub fn check(tree: &Tree, faults: &mut Vec<String>) {
    for (path, text) in &tree.files {
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        for (number, target) in links(text) {
            let from = if target.starts_with('/') { Path::new("") } else { folder };
            if !repo::root().join(from).join(target.trim_start_matches('/')).exists() {
                faults.push(format!("{}:{number}: {target} does not exist", path.display()));
            }
        }
    }
}

/// The files that a text links to, with the line: `[...](target)` and `[...]: target`, without the part after `#`.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        // What stands between backticks is code: every second part.
        for part in line.split('`').step_by(2) {
            let inline = part.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
            let reference =
                part.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
            for target in inline.chain(reference) {
                let file = target.trim().split('#').next().unwrap_or("");
                let is_elsewhere = file.contains("://") || file.starts_with("mailto:");
                if !file.is_empty() && !is_elsewhere {
                    found.push((number + 1, file));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_are_found() {
        let text = "See [a](docs/a.md) and [b](b.md#part \"title\").\n[c]: ../c.md\n";
        assert_eq!(links(text), [(1, "docs/a.md"), (1, "b.md"), (2, "../c.md")]);
    }

    #[test]
    fn what_is_no_link_to_a_file_is_left_alone() {
        let text =
            "[x](https://example.org) [y](#here) `a[i](j)` [m](mailto:a@example.org)\n```\n[z](none)\n```\n";
        assert_eq!(links(text), []);
    }
}
