//! Words of a command line that are for the network.

use net::config::{Config, PREFIX};

/// Plays the octets.
pub fn run(octets: &[u8]) {
    let Ok(text) = core::str::from_utf8(octets) else { return };
    let mut config = Config::default();
    for word in text.split_ascii_whitespace() {
        for word in [word.to_owned(), format!("{PREFIX}{word}")] {
            match config.set(&word) {
                Ok(is_ours) => assert_eq!(is_ours, word.starts_with(PREFIX)),
                Err(error) => {
                    assert!(word.contains(&error.part) && error.word == word);
                    assert!(!error.to_string().is_empty());
                }
            }
        }
    }
    for interface in &config.interfaces {
        assert!(!interface.name().is_empty());
        let _ = interface.probe_timing();
    }
}
