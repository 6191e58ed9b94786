//! The direct map: every frame of RAM at a fixed distance from its physical address.

use crate::arch::current::paging::DIRECT_BASE;

/// Where RAM at a physical address can be read and written.
#[inline]
pub fn pointer(physical: u64) -> *mut u8 {
    (DIRECT_BASE + physical) as *mut u8
}

/// The physical address behind a direct-map pointer.
#[inline]
pub fn physical<T>(pointer: *const T) -> u64 {
    pointer as u64 - DIRECT_BASE
}

/// The direct map's alias of something in the image. The image lies where it was linked, in RAM of the same address.
#[inline]
pub fn of_image<T>(object: *const T) -> *const T {
    pointer(object as u64).cast_const().cast()
}
