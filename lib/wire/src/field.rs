//! Fields of headers: numbers in network byte order and addresses, at a fixed offset.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::ethernet::EtherType;
use crate::{MacAddr, Port, Protocol, SeqNumber};

/// Something of fixed length that stands in a header.
pub(crate) trait Field: Sized {
    /// Reads it from the first octets.
    fn read(octets: &[u8]) -> Self;
    /// Writes it into the first octets.
    fn write(self, octets: &mut [u8]);
}

/// Fields that are an array of octets in another dress.
macro_rules! field {
    ($($ty:ty: $len:literal, $octets:ident => $read:expr, $value:ident => $write:expr;)*) => {$(
        impl Field for $ty {
            #[inline]
            fn read(octets: &[u8]) -> Self {
                let mut $octets = [0; $len];
                $octets.copy_from_slice(&octets[..$len]);
                $read
            }
            #[inline]
            fn write(self, octets: &mut [u8]) {
                let $value = self;
                octets[..$len].copy_from_slice(&$write);
            }
        }
    )*};
}

field! {
    u8: 1, o => o[0], v => [v];
    u16: 2, o => u16::from_be_bytes(o), v => v.to_be_bytes();
    u32: 4, o => u32::from_be_bytes(o), v => v.to_be_bytes();
    Port: 2, o => Port(u16::from_be_bytes(o)), v => v.0.to_be_bytes();
    Protocol: 1, o => Protocol(o[0]), v => [v.0];
    EtherType: 2, o => EtherType(u16::from_be_bytes(o)), v => v.0.to_be_bytes();
    SeqNumber: 4, o => SeqNumber(u32::from_be_bytes(o)), v => v.0.to_be_bytes();
    MacAddr: 6, o => MacAddr(o), v => v.0;
    Ipv4Addr: 4, o => Ipv4Addr::from(o), v => v.octets();
    Ipv6Addr: 16, o => Ipv6Addr::from(o), v => v.octets();
}

/// Defines `Packet<T>`, a view of octets, with its fields: accessor, setter, type and offset.
macro_rules! view {
    (
        $(#[$doc:meta])*
        Packet {
            $($(#[$field_doc:meta])* $get:ident, $set:ident: $ty:ty = $at:literal;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct Packet<T> {
            buffer: T,
        }

        impl<T> Packet<T> {
            /// Wraps octets without a look at them: to write a packet, or where the lengths are known to be right.
            /// An accessor or setter whose field lies behind the buffer's end panics.
            #[inline]
            pub const fn new_unchecked(buffer: T) -> Self {
                Self { buffer }
            }

            /// The buffer.
            #[inline]
            pub fn into_inner(self) -> T {
                self.buffer
            }
        }

        impl<T: AsRef<[u8]>> Packet<T> {
            $(
                $(#[$field_doc])*
                #[inline]
                pub fn $get(&self) -> $ty {
                    $crate::field::Field::read(&self.buffer.as_ref()[$at..])
                }
            )*
        }

        impl<T: AsMut<[u8]>> Packet<T> {
            $(
                #[doc = concat!("Writes what [`Self::", stringify!($get), "`] reads.")]
                #[inline]
                pub fn $set(&mut self, value: $ty) {
                    $crate::field::Field::write(value, &mut self.buffer.as_mut()[$at..]);
                }
            )*
        }
    };
}
