//! Debian's package sources: reads them, and derives the entry of the release's `-backports` suite.
//!
//! The derived entry has the place, the signing key and the options of the release's own entry, so that it works
//! wherever that one works (a mirror, a proxy, an offline copy), and names no host of our choosing.

/// An entry to be added: the end of its file's name, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// `sources` (deb822) or `list` (one line each), as the entry it was derived from.
    pub extension: &'static str,
    /// What the file holds.
    pub text: String,
}

/// Derives the backports entry from one source file, `is_deb822` for `*.sources`. `None`: it has no entry of the
/// release `codename` (`bookworm`) with packages of the component `main`.
pub fn derive_backports(text: &str, is_deb822: bool, codename: &str) -> Option<SourceFile> {
    if is_deb822 { derive_deb822(text, codename) } else { derive_one_line(text, codename) }
}

/// Whether a source file already has packages of this suite.
pub fn has_suite(text: &str, is_deb822: bool, suite: &str) -> bool {
    if is_deb822 {
        stanzas(text).any(|stanza| stanza.is_binary() && stanza.words("Suites").any(|word| word == suite))
    } else {
        text.lines().filter_map(OneLine::parse).any(|line| line.suite == suite)
    }
}

/// The version that would be installed, from `apt-cache policy PACKAGE`.
pub fn candidate(policy: &str) -> Option<&str> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?.trim();
    (version != "(none)").then_some(version)
}

/// Major and minor version of a Debian version (`1:7.2+dfsg-7+deb12u18` is 7.2) or a program's own.
pub fn upstream(version: &str) -> Option<(u32, u32)> {
    let version = version.split_once(':').map_or(version, |(_epoch, version)| version);
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    Some((major, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
}

fn derive_deb822(text: &str, codename: &str) -> Option<SourceFile> {
    let stanza = stanzas(text).find(|stanza| {
        stanza.is_binary()
            && stanza.words("Suites").any(|word| word == codename)
            && stanza.words("Components").any(|word| word == "main")
            && stanza.words("URIs").any(|uri| !uri.starts_with("cdrom:"))
    })?;
    let mut out = String::new();
    for (name, lines) in &stanza.fields {
        let replaced = ["Types", "Suites", "Components", "Enabled", "X-Repolib-Name", "Description"];
        if !replaced.iter().any(|field| field.eq_ignore_ascii_case(name)) {
            out += lines;
        }
    }
    let text = format!("Types: deb\nSuites: {codename}-backports\nComponents: main\n{out}");
    Some(SourceFile { extension: "sources", text })
}

fn derive_one_line(text: &str, codename: &str) -> Option<SourceFile> {
    let line = text.lines().filter_map(OneLine::parse).find(|line| {
        line.suite == codename && line.components.contains(&"main") && !line.uri.starts_with("cdrom:")
    })?;
    let options = line.options.map(|options| format!(" [{options}]")).unwrap_or_default();
    let text = format!("deb{options} {} {codename}-backports main\n", line.uri);
    Some(SourceFile { extension: "list", text })
}

/// One entry of a deb822 file: fields with all their lines, line ends included, comments left out.
struct Stanza {
    fields: Vec<(String, String)>,
}

impl Stanza {
    /// The words of a field; none if it is missing.
    fn words(&self, name: &str) -> impl Iterator<Item = &str> {
        let field = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        field
            .and_then(|(_, lines)| lines.split_once(':'))
            .into_iter()
            .flat_map(|(_, value)| value.split_whitespace())
    }

    /// Whether it is in force and has built packages.
    fn is_binary(&self) -> bool {
        let enabled = self.words("Enabled").next();
        self.words("Types").any(|word| word == "deb")
            && !matches!(enabled, Some("no" | "false" | "without" | "off" | "disable"))
    }
}

fn stanzas(text: &str) -> impl Iterator<Item = Stanza> {
    let mut stanzas = vec![Stanza { fields: Vec::new() }];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let last = stanzas.last_mut().expect("starts with one and only grows");
        if line.trim().is_empty() {
            stanzas.push(Stanza { fields: Vec::new() });
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, lines)) = last.fields.last_mut() {
                *lines += &format!("{line}\n");
            }
        } else if let Some((name, _)) = line.split_once(':') {
            last.fields.push((name.to_owned(), format!("{line}\n")));
        }
    }
    stanzas.into_iter().filter(|stanza| !stanza.fields.is_empty())
}

/// One line of a `*.list` file (sources.list(5), "one-line-style format").
struct OneLine<'a> {
    options: Option<&'a str>,
    uri: &'a str,
    suite: &'a str,
    components: Vec<&'a str>,
}

impl<'a> OneLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let line = line.split('#').next()?.trim();
        let rest = line.strip_prefix("deb")?;
        if !rest.starts_with([' ', '\t', '[']) {
            return None; // deb-src
        }
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (options, rest) = rest.split_once(']')?;
                (Some(options.trim()), rest)
            }
            None => (None, rest),
        };
        let mut words = rest.split_whitespace();
        Some(Self { options, uri: words.next()?, suite: words.next()?, components: words.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "\
Types: deb
# a remark between the fields
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/archive.gpg
";

    #[test]
    fn deb822_keeps_place_and_key() {
        let file = derive_backports(DEB822, true, "bookworm").unwrap();
        assert_eq!(
            file,
            SourceFile {
                extension: "sources",
                text: "Types: deb\nSuites: bookworm-backports\nComponents: main\n\
                       URIs: http://mirror.example/debian\nSigned-By: /usr/share/keyrings/archive.gpg\n"
                    .into(),
            }
        );
        assert!(has_suite(&file.text, true, "bookworm-backports"));
    }

    #[test]
    fn deb822_keeps_an_embedded_key_and_options() {
        let text = "Enabled: yes\nTypes: deb deb-src\nURIs: https://a.example/d\nSuites: bookworm\n\
                    Components: main contrib\nArchitectures: amd64\nSigned-By:\n -----BEGIN\n .\n abc\n -----END\n";
        let file = derive_backports(text, true, "bookworm").unwrap();
        assert_eq!(
            file.text,
            "Types: deb\nSuites: bookworm-backports\nComponents: main\nURIs: https://a.example/d\n\
             Architectures: amd64\nSigned-By:\n -----BEGIN\n .\n abc\n -----END\n"
        );
    }

    #[test]
    fn what_is_off_or_another_release_is_no_base() {
        assert_eq!(derive_backports(DEB822, true, "trixie"), None);
        let off = DEB822.replace("Suites: bookworm b", "Enabled: no\nSuites: bookworm b");
        assert_eq!(derive_backports(&off, true, "bookworm"), None);
        assert_eq!(derive_backports("deb http://a.example/d bookworm contrib\n", false, "bookworm"), None);
        assert_eq!(derive_backports("deb cdrom:[Debian 12]/ bookworm main\n", false, "bookworm"), None);
        assert_eq!(derive_backports("# deb http://a.example/d bookworm main\n", false, "bookworm"), None);
        assert_eq!(derive_backports("deb-src http://a.example/d bookworm main\n", false, "bookworm"), None);
        assert_eq!(derive_backports("", true, "bookworm"), None);
    }

    #[test]
    fn one_line_keeps_place_and_options() {
        let text = "deb-src http://a.example/debian bookworm main\n\
                    deb [ signed-by=/k.gpg arch=amd64 ] http://a.example/debian bookworm main contrib # release\n";
        let file = derive_backports(text, false, "bookworm").unwrap();
        assert_eq!(file.extension, "list");
        assert_eq!(
            file.text,
            "deb [signed-by=/k.gpg arch=amd64] http://a.example/debian bookworm-backports main\n"
        );
        assert!(has_suite(&file.text, false, "bookworm-backports"));

        let plain =
            derive_backports("deb http://a.example/debian\tbookworm main\n", false, "bookworm").unwrap();
        assert_eq!(plain.text, "deb http://a.example/debian bookworm-backports main\n");
    }

    #[test]
    fn versions() {
        let policy = "qemu-system-x86:\n  Installed: (none)\n  Candidate: 1:7.2+dfsg-7+deb12u18\n";
        assert_eq!(candidate(policy), Some("1:7.2+dfsg-7+deb12u18"));
        assert_eq!(candidate("x:\n  Candidate: (none)\n"), None);
        assert_eq!(candidate(""), None);
        assert_eq!(upstream("1:7.2+dfsg-7+deb12u18"), Some((7, 2)));
        assert_eq!(upstream("1:10.0.2+ds-2+deb13u1~bpo12+1"), Some((10, 0)));
        assert_eq!(upstream("9"), Some((9, 0)));
        assert_eq!(upstream("none"), None);
    }
}
