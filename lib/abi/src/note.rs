//! The ELF notes by which an image is known.
//!
//! An image carries three notes in one `PT_NOTE` segment of alignment 4: the PVH note, by which a virtual machine
//! monitor finds the boot entry; the image note, by which the tool knows that a kernel is linked and which one; and the
//! boot note, whose descriptor is the entry's code itself.

/// Name of the note that holds the PVH entry, without its terminating zero (Xen `elfnote.h`).
pub const PVH_NAME: &[u8] = b"Xen";
/// `XEN_ELFNOTE_PHYS32_ENTRY`: the descriptor is the physical address of the 32-bit entry point.
pub const PVH_TYPE: u32 = 18;

/// Name of the image note, without its terminating zero.
pub const IMAGE_NAME: &[u8] = b"IncludeOS";
/// Type of the image note. Its descriptor is an [`ImageNote`] in little-endian order.
pub const IMAGE_TYPE: u32 = 1;
/// Type of the note, of the same name, whose descriptor is the boot entry's code.
pub const BOOT_TYPE: u32 = 2;
/// The layout of [`ImageNote`] and the meaning of the command line and of the status record.
pub const IMAGE_ABI: u32 = 1;

/// The descriptor of the image note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageNote {
    /// [`IMAGE_ABI`] of the kernel that is linked.
    pub abi: u32,
    /// Identity of the kernel object: a hash of its content, the same for the same sources and tool-chain.
    pub build_id: [u8; 16],
}

impl ImageNote {
    /// Octets of the encoded descriptor.
    pub const LEN: usize = 20;

    /// Reads a descriptor. `None` if it is not [`Self::LEN`] octets long.
    pub fn decode(desc: &[u8]) -> Option<Self> {
        let (abi, build_id) = desc.split_first_chunk::<4>()?;
        Some(Self { abi: u32::from_le_bytes(*abi), build_id: build_id.try_into().ok()? })
    }

    /// The descriptor's octets.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..4].copy_from_slice(&self.abi.to_le_bytes());
        out[4..].copy_from_slice(&self.build_id);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptor_survives_encoding() {
        let note = ImageNote { abi: IMAGE_ABI, build_id: *b"0123456789abcdef" };
        assert_eq!(ImageNote::decode(&note.encode()), Some(note));
    }

    #[test]
    fn a_descriptor_of_another_length_is_refused() {
        assert_eq!(ImageNote::decode(&[0; ImageNote::LEN - 1]), None);
        assert_eq!(ImageNote::decode(&[0; ImageNote::LEN + 1]), None);
        assert_eq!(ImageNote::decode(&[]), None);
    }
}
