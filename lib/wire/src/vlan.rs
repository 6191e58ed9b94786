//! VLAN tags (IEEE 802.1Q § 9.6): the four octets from the tag's own type field on are seen as two of control
//! information and the type of what follows.

use crate::Malformed;
use crate::ethernet::EtherType;

/// Octets of the tag behind the Ethernet header.
pub const HEADER_LEN: usize = 4;

/// A VLAN's number, 1 to 4094. 0 ("priority only") and 4095 (reserved) name no VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(u16);

impl VlanId {
    /// Checks the range.
    pub const fn new(id: u16) -> Option<Self> {
        if id == 0 || id >= 0xfff { None } else { Some(Self(id)) }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

view! {
    /// What follows the Ethernet header of a tagged frame.
    Packet {
        /// Priority (3 bits), drop eligible (1 bit), VLAN number (12 bits).
        control, set_control: u16 = 0;
        /// What the payload is.
        ethertype, set_ethertype: EtherType = 2;
    }
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Wraps a tagged frame's Ethernet payload. `Ok`: no accessor panics.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        if buffer.as_ref().len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        Ok(Self { buffer })
    }

    /// What the frame carries.
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..]
    }
}

/// The tag's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// The VLAN; `None`: the tag carries a priority only, the frame belongs to the port's own VLAN.
    pub vlan: Option<VlanId>,
    /// Priority code point, `0..=7`.
    pub priority: u8,
    /// Drop eligible indicator.
    pub drop_eligible: bool,
    /// What the payload is.
    pub ethertype: EtherType,
}

impl Repr {
    /// Reads a tag. `Field`: the reserved VLAN 4095, or a length in place of the type.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Malformed> {
        let control = packet.control();
        let id = control & 0xfff;
        if id == 0xfff {
            return Err(Malformed::Field(id.into()));
        }
        let ethertype = packet.ethertype();
        if ethertype.0 < 0x0600 {
            return Err(Malformed::Field(ethertype.0.into()));
        }
        Ok(Self {
            vlan: VlanId::new(id),
            priority: (control >> 13) as u8,
            drop_eligible: control & 0x1000 != 0,
            ethertype,
        })
    }

    /// Writes the tag; the buffer has at least [`HEADER_LEN`] octets.
    pub fn emit<T: AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let id = self.vlan.map_or(0, VlanId::get);
        let drop_eligible = u16::from(self.drop_eligible) << 12;
        packet.set_control(u16::from(self.priority & 7) << 13 | drop_eligible | id);
        packet.set_ethertype(self.ethertype);
    }
}
