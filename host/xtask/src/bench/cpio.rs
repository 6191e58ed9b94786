//! The archive that Linux unpacks as its first file system: cpio's "new ASCII format"
//! (Documentation/driver-api/early-userspace/buffer-format.rst of Linux).

/// An archive, written from start to end.
#[derive(Default)]
pub struct Archive {
    octets: Vec<u8>,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

impl Archive {
    /// Adds a folder.
    pub fn folder(&mut self, name: &str) {
        self.add(name, DIRECTORY, (0, 0), &[]);
    }

    /// Adds a character device.
    pub fn device(&mut self, name: &str, major: u32, minor: u32) {
        self.add(name, CHARACTER_DEVICE, (major, minor), &[]);
    }

    /// Adds a program.
    pub fn program(&mut self, name: &str, content: &[u8]) {
        self.add(name, EXECUTABLE, (0, 0), content);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, (0, 0), &[]);
        self.octets
    }

    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("less than 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("a short name");
        // inode, mode, owner, group, links, time, size, the file's device, its own number, length of the name, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0]
            .map(|field| format!("{field:08x}"));
        self.octets.extend_from_slice(b"070701");
        self.octets.extend_from_slice(fields.concat().as_bytes());
        self.octets.extend_from_slice(name.as_bytes());
        self.octets.push(0);
        self.pad();
        self.octets.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.octets.resize(self.octets.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_headers_names_and_contents_at_multiples_of_four() {
        let mut archive = Archive::default();
        archive.program("init", b"12345");
        archive.device("dev/console", 5, 1);
        let octets = archive.finish();
        let text = String::from_utf8(octets).unwrap();
        let first = "070701000000010000\
                     81ed000000000000000000000001000000000000000500000000000000000000000000000000\
                     0000000500000000init\0\0";
        assert!(text.starts_with(first), "{text:?}");
        assert_eq!(&text[first.len()..first.len() + 8], "12345\0\0\0");
        let second = &text[first.len() + 8..];
        assert!(second.starts_with("0707010000000200002180"), "{second:?}");
        assert_eq!(&second[6 + 9 * 8..6 + 11 * 8], "0000000500000001");
        assert!(second.contains("TRAILER!!!\0"));
        assert_eq!(text.len() % 4, 0);
    }
}
