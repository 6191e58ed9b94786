//! The changelog has a place for changes.

use super::Tree;
use std::path::Path;

const FILE: &str = "CHANGELOG.md";

pub fn check(tree: &Tree, faults: &mut Vec<String>) {
    match tree.file(Path::new(FILE)) {
        None => faults.push(format!("{FILE}: does not exist")),
        Some(text) if !has_unreleased(text) => {
            faults.push(format!("{FILE}: has no section `## [Unreleased]`"))
        }
        Some(_) => {}
    }
}

fn has_unreleased(text: &str) -> bool {
    text.lines().any(|line| matches!(line.trim_end(), "## Unreleased" | "## [Unreleased]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_spelling_counts() {
        assert!(has_unreleased("# Changelog\n\n## [Unreleased]\n"));
        assert!(has_unreleased("## Unreleased\n"));
        assert!(!has_unreleased("# Unreleased\n"));
        assert!(!has_unreleased("## 0.1.0\n"));
    }
}
