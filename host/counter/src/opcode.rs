//! Tells the instructions apart that the counter treats specially, from their octets.

/// What an instruction does, as far as the counter cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing special.
    Plain,
    /// A string instruction whose octets count where it stores them (`movs`, `stos`).
    StringStore,
    /// A string instruction whose octets count where it loads them (`lods`, `scas`, `cmps`).
    StringLoad,
    /// A port instruction (`in`, `out`, `ins`, `outs`).
    Port,
}

/// An instruction by which a program says where a section starts or ends: `nop dword ptr [rax + displacement]`, whose
/// displacement no compiler chooses. It does nothing, in any ring and under any system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// What follows is counted.
    Start,
    /// What follows is not counted any more.
    End,
}

impl Mark {
    /// The instruction that starts a section.
    pub const START: [u8; 7] = *b"\x0f\x1f\x80IOSs";
    /// The instruction that ends a section.
    pub const END: [u8; 7] = *b"\x0f\x1f\x80IOSe";

    /// The mark that this instruction is.
    pub fn of(code: &[u8]) -> Option<Self> {
        match code {
            code if code == Self::START => Some(Self::Start),
            code if code == Self::END => Some(Self::End),
            _ => None,
        }
    }
}

/// An instruction, classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// What it does.
    pub kind: Kind,
    /// Whether it may run many times: a string or string port instruction with a `rep` prefix.
    pub repeated: bool,
}

impl Class {
    /// Classifies one instruction of 16-, 32- or 64-bit code by its octets (SDM vol. 2, § 2.1, appendix A).
    ///
    /// `code` is exactly one instruction. Octets 40-4F are taken for a REX prefix; in 32-bit code they are `inc`
    /// and `dec`, instructions of their own behind which `code` ends, hence [`Kind::Plain`] all the same.
    pub fn of(code: &[u8]) -> Self {
        let mut repeat = false;
        let mut octets = code.iter().copied();
        let opcode = loop {
            match octets.next() {
                Some(0xf2 | 0xf3) => repeat = true,
                Some(0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0x40..=0x4f) => {}
                Some(opcode) => break opcode,
                None => return Self { kind: Kind::Plain, repeated: false },
            }
        };
        let kind = match opcode {
            0xa4 | 0xa5 | 0xaa | 0xab => Kind::StringStore,
            0xa6 | 0xa7 | 0xac..=0xaf => Kind::StringLoad,
            0x6c..=0x6f | 0xe4..=0xe7 | 0xec..=0xef => Kind::Port,
            _ => Kind::Plain,
        };
        let can_repeat = matches!(opcode, 0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf);
        Self { kind, repeated: repeat && can_repeat }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(code: &[u8]) -> (Kind, bool) {
        let Class { kind, repeated } = Class::of(code);
        (kind, repeated)
    }

    #[test]
    fn only_its_displacement_makes_a_nop_a_mark() {
        assert_eq!(Mark::of(&Mark::START), Some(Mark::Start));
        assert_eq!(Mark::of(&Mark::END), Some(Mark::End));
        assert_eq!(Mark::of(b"\x0f\x1f\x80\0\0\0\0"), None);
        assert_eq!(class(&Mark::START), (Kind::Plain, false));
    }

    #[test]
    fn string_stores() {
        assert_eq!(class(&[0xa4]), (Kind::StringStore, false));
        assert_eq!(class(&[0xf3, 0xa4]), (Kind::StringStore, true)); // rep movsb
        assert_eq!(class(&[0xf3, 0x48, 0xa5]), (Kind::StringStore, true)); // rep movsq
        assert_eq!(class(&[0xf3, 0x48, 0xab]), (Kind::StringStore, true)); // rep stosq
        assert_eq!(class(&[0x66, 0xf3, 0xab]), (Kind::StringStore, true)); // rep stosw
        assert_eq!(class(&[0xaa]), (Kind::StringStore, false));
    }

    #[test]
    fn string_loads() {
        assert_eq!(class(&[0xac]), (Kind::StringLoad, false)); // lodsb
        assert_eq!(class(&[0xf2, 0xae]), (Kind::StringLoad, true)); // repne scasb
        assert_eq!(class(&[0xf3, 0x48, 0xa7]), (Kind::StringLoad, true)); // repe cmpsq
    }

    #[test]
    fn port_instructions() {
        assert_eq!(class(&[0xe6, 0xf4]), (Kind::Port, false)); // out 0xf4, al
        assert_eq!(class(&[0xee]), (Kind::Port, false)); // out dx, al
        assert_eq!(class(&[0x66, 0xed]), (Kind::Port, false)); // in ax, dx
        assert_eq!(class(&[0xf3, 0x6e]), (Kind::Port, true)); // rep outsb
    }

    #[test]
    fn look_alikes_are_plain() {
        assert_eq!(class(&[0x40]), (Kind::Plain, false)); // inc eax, in 32-bit code
        assert_eq!(class(&[0x66, 0x40]), (Kind::Plain, false)); // inc ax
        assert_eq!(class(&[0xf3, 0x90]), (Kind::Plain, false)); // pause
        assert_eq!(class(&[0xf3, 0x0f, 0x6f, 0x06]), (Kind::Plain, false)); // movdqu: 6F is its second octet
        assert_eq!(class(&[0xc5, 0xfe, 0x6f, 0x06]), (Kind::Plain, false)); // vmovdqu
        assert_eq!(class(&[0xf2, 0xc3]), (Kind::Plain, false)); // bnd ret
        assert_eq!(class(&[0xb0, 0xa4]), (Kind::Plain, false)); // mov al, 0xa4
        assert_eq!(class(&[]), (Kind::Plain, false));
    }
}
