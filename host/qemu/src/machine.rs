//! The machine types of QEMU that images are started on.

use std::fmt;
use std::str::FromStr;

/// A machine type. Every image boots on all of them; they differ in firmware time and in devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Machine {
    /// PCI Express, ACPI: what clouds look like.
    Q35,
    /// The older PC with PCI.
    Pc,
    /// No PCI, virtio-mmio, the shortest way to the entry point.
    #[default]
    Microvm,
}

impl Machine {
    /// All machine types.
    pub const ALL: [Self; 3] = [Self::Q35, Self::Pc, Self::Microvm];

    /// The name QEMU knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q35 => "q35",
            Self::Pc => "pc",
            Self::Microvm => "microvm",
        }
    }

    /// The value of `-machine`: the type without devices that no image uses, for each costs firmware time.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Q35 => "q35,usb=off,vmport=off,smbus=off,sata=off,hpet=off,i8042=off",
            Self::Pc => "pc,usb=off,vmport=off,hpet=off,i8042=off",
            // Without ACPI QEMU takes qboot, which starts a PVH kernel without option ROMs. The command line is the
            // image's own: without `auto-kernel-cmdline=off` QEMU appends to it.
            Self::Microvm => {
                "microvm,acpi=off,x-option-roms=off,pit=off,pic=off,rtc=on,isa-serial=on,auto-kernel-cmdline=off"
            }
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Machine {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|machine| machine.name() == name)
            .ok_or_else(|| format!("{name:?} is no machine type; there are q35, pc and microvm"))
    }
}
