//! No global offset table: `core` comes compiled for position-independent programs and reaches `memcpy` and its kin by addresses
//! in a table that the linker makes. It would lie among the program's data, where the program may change it. Everything the
//! object refers to is in it, so the address can be in the instruction itself: what linkers do, too, where they may (System V ABI
//! AMD64 § B.2), but not for the relocations that are met here.

use object::build::elf::{Builder, SectionData};
use object::elf::{R_X86_64_GOTPCREL, R_X86_64_GOTPCRELX, R_X86_64_PC32, R_X86_64_REX_GOTPCRELX};

use crate::localise::GateError;

/// Replaces each load of an address from the table by the address.
///
/// # Errors
/// [`GateError::Table`]: an instruction that is none of those below.
pub(crate) fn remove_table(builder: &mut Builder<'_>) -> Result<(), GateError> {
    let mut places = Vec::new();
    for section in builder.sections.iter_mut() {
        let code = section.sh_info_section;
        let name = String::from_utf8_lossy(&section.name).into_owned();
        let SectionData::Relocation(relocations) = &mut section.data else { continue };
        for relocation in relocations {
            if [R_X86_64_GOTPCREL, R_X86_64_GOTPCRELX, R_X86_64_REX_GOTPCRELX].contains(&relocation.r_type) {
                relocation.r_type = R_X86_64_PC32;
                let code = code.ok_or_else(|| GateError::Table(name.clone()))?;
                places.push((code, relocation.r_offset));
            }
        }
    }
    for (code, offset) in places {
        let section = builder.sections.get_mut(code);
        let error = || GateError::Table(format!("{} at {offset:#x}", String::from_utf8_lossy(&section.name)));
        let SectionData::Data(data) = &section.data else { return Err(error()) };
        let mut octets = data.to_vec();
        let end = usize::try_from(offset).map_err(|_| error())?;
        let instruction = octets.get_mut(end.saturating_sub(3)..end).and_then(direct).ok_or_else(error);
        instruction?;
        section.data = SectionData::Data(octets.into());
    }
    Ok(())
}

/// Rewrites an instruction whose address field follows `octets`, of which the first may be another instruction's.
fn direct(octets: &mut [u8]) -> Option<()> {
    let [first, second, third] = octets else { return None };
    match (*first, *second, *third) {
        // call [rip + entry]; jmp [rip + entry]: the same with the address, and a prefix without effect for the octet to spare.
        (_, 0xff, 0x15) => (*second, *third) = (0x67, 0xe8),
        (_, 0xff, 0x25) => (*second, *third) = (0x67, 0xe9),
        // mov register, [rip + entry]: lea.
        (0x48 | 0x4c, 0x8b, modrm) if modrm & 0xc7 == 5 => *second = 0x8d,
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(mut octets: [u8; 3]) -> Option<[u8; 3]> {
        direct(&mut octets).map(|()| octets)
    }

    #[test]
    fn calls_jumps_and_loads() {
        assert_eq!(rewritten([0x90, 0xff, 0x15]), Some([0x90, 0x67, 0xe8]));
        assert_eq!(rewritten([0x90, 0xff, 0x25]), Some([0x90, 0x67, 0xe9]));
        // mov r13, [rip + ...] and mov rax, [rip + ...]
        assert_eq!(rewritten([0x4c, 0x8b, 0x2d]), Some([0x4c, 0x8d, 0x2d]));
        assert_eq!(rewritten([0x48, 0x8b, 0x05]), Some([0x48, 0x8d, 0x05]));
    }

    #[test]
    fn others_are_refused() {
        // push [rip + ...]; cmp rax, [rip + ...]; mov rax, [rsp + ...]; mov eax, [rip + ...]
        for octets in [[0x90, 0xff, 0x35], [0x48, 0x3b, 0x05], [0x48, 0x8b, 0x84], [0x90, 0x8b, 0x05]] {
            assert_eq!(rewritten(octets), None, "{octets:x?}");
        }
    }
}
