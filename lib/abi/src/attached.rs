//! What the tool attaches to an image after it is linked: parts such as the image's own settings.
//!
//! They are one segment of the ELF file, behind the others, marked by [`PF_ATTACHED`] in its flags, read-only. It begins with a
//! header: [`MAGIC`], the number of parts (`u32`), 0 (`u32`), then for each part its kind (`u32`), 0 (`u32`), its offset in the
//! segment and its length (`u64` each), all little-endian. Parts begin at multiples of [`ALIGN`].

use alloc::vec::Vec;

/// Bit in `p_flags` of the segment, of those that the operating system may define (gABI, `PF_MASKOS`).
pub const PF_ATTACHED: u32 = 0x0010_0000;
/// The first octets.
pub const MAGIC: [u8; 8] = *b"INCPARTS";
/// Parts begin at multiples of so many octets: a page.
pub const ALIGN: usize = 4096;
/// Most parts that are looked at.
const MAX_PARTS: usize = 16;
const HEADER_LEN: usize = 16;
const ENTRY_LEN: usize = 24;

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Settings and arguments as on a command line ([`crate::cmdline`]), which the machine's own goes before.
    Settings = 1,
    /// The file tree.
    Tree = 2,
}

/// The segment's content.
///
/// # Panics
/// If there are more than 16 parts.
pub fn encode(parts: &[(Kind, &[u8])]) -> Vec<u8> {
    assert!(parts.len() <= MAX_PARTS, "too many parts");
    let mut out = Vec::new();
    out.extend(MAGIC);
    out.extend((parts.len() as u32).to_le_bytes());
    out.extend(0u32.to_le_bytes());
    let mut at = (HEADER_LEN + parts.len() * ENTRY_LEN).next_multiple_of(ALIGN);
    for (kind, content) in parts {
        out.extend((*kind as u32).to_le_bytes());
        out.extend(0u32.to_le_bytes());
        out.extend((at as u64).to_le_bytes());
        out.extend((content.len() as u64).to_le_bytes());
        at = (at + content.len()).next_multiple_of(ALIGN);
    }
    for (_, content) in parts {
        out.resize(out.len().next_multiple_of(ALIGN), 0);
        out.extend_from_slice(content);
    }
    out
}

/// The part of a kind. `None`: there is none, or the segment is damaged.
pub fn find(segment: &[u8], kind: Kind) -> Option<&[u8]> {
    let rest = segment.strip_prefix(&MAGIC)?;
    let word = |octets: &[u8], at: usize| -> Option<u64> {
        Some(u64::from_le_bytes(*octets.get(at..)?.first_chunk()?))
    };
    let count = u32::from_le_bytes(*rest.first_chunk()?) as usize;
    let entries = segment.get(HEADER_LEN..)?.chunks_exact(ENTRY_LEN).take(count.min(MAX_PARTS));
    for entry in entries {
        if u32::from_le_bytes(*entry.first_chunk()?) == kind as u32 {
            let (offset, len) =
                (usize::try_from(word(entry, 8)?).ok()?, usize::try_from(word(entry, 16)?).ok()?);
            return segment.get(offset..offset.checked_add(len)?);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found() {
        let segment = encode(&[(Kind::Tree, &[7; 5000]), (Kind::Settings, b"log=info")]);
        assert_eq!(find(&segment, Kind::Settings), Some(&b"log=info"[..]));
        assert_eq!(find(&segment, Kind::Tree), Some(&[7; 5000][..]));
        assert_eq!(find(&encode(&[]), Kind::Tree), None);
        let tree = find(&segment, Kind::Tree).unwrap();
        assert!((tree.as_ptr() as usize - segment.as_ptr() as usize).is_multiple_of(ALIGN));
    }

    #[test]
    fn damage_is_no_part() {
        let segment = encode(&[(Kind::Settings, b"log=info")]);
        for len in 0..segment.len() {
            assert_eq!(find(&segment[..len], Kind::Settings), None, "{len}");
        }
        for at in 0..HEADER_LEN + ENTRY_LEN {
            let mut damaged = segment.clone();
            damaged[at] ^= 0xff;
            // Whatever it is taken for, it is inside.
            let _ = find(&damaged, Kind::Settings);
        }
    }
}
