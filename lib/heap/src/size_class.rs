//! Which sizes small objects are rounded up to, and what their slabs look like.

use core::alloc::Layout;

use crate::PAGE_SIZE;
use crate::slab::Slab;

/// Spacing of the smallest classes, and what every object is aligned to.
const GRANULE: usize = 16;
/// Largest object that lives in a slab, in bytes.
const MAX_SIZE: usize = 2048;
const COUNT: usize = 24;

/// One of the sizes in which small objects are handed out: 16 to 2048 bytes, by 16 up to 128, then four to each
/// doubling.
///
/// Public for what stands in front of the heap, such as a cache of objects for each CPU: two layouts of one class
/// are served by the same memory, so a cache has one stack for each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeClass(u8);

impl SizeClass {
    /// Number of classes.
    pub const COUNT: usize = COUNT;

    /// The class that serves a layout. `None`: the layout is large and is served in pages.
    ///
    /// A layout of size 0 is served as if it had the size of its alignment.
    #[inline]
    pub const fn of(layout: Layout) -> Option<Self> {
        let mut size = layout.size();
        let align = layout.align();
        if align > GRANULE {
            // Of the classes not below it, the next to a multiple of `align` is itself one (a test shows it).
            if size < align {
                size = align;
            }
            size = (size + align - 1) & !(align - 1);
        }
        if size > MAX_SIZE { None } else { Some(Self(CLASS_OF[size.div_ceil(GRANULE)])) }
    }

    /// All classes, smallest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..COUNT as u8).map(Self)
    }

    /// The class's place in the order of sizes, `0..COUNT`.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Bytes of an object of this class.
    #[inline]
    pub const fn size(self) -> usize {
        SHAPES[self.index()].size as usize
    }

    /// Order of the page blocks that are this class's slabs.
    #[inline]
    pub(crate) const fn slab_order(self) -> u8 {
        SHAPES[self.index()].slab_order
    }

    /// Bytes in a slab of this class.
    #[inline]
    pub(crate) const fn slab_bytes(self) -> usize {
        PAGE_SIZE << self.slab_order()
    }

    /// Offset of the first object in a slab; the others follow without a gap.
    #[inline]
    pub(crate) const fn first_object(self) -> usize {
        SHAPES[self.index()].first_object as usize
    }

    /// Objects in a slab.
    #[inline]
    pub(crate) const fn objects_per_slab(self) -> usize {
        (self.slab_bytes() - self.first_object()) / self.size()
    }
}

#[derive(Clone, Copy)]
struct Shape {
    size: u16,
    first_object: u16,
    slab_order: u8,
}

const SHAPES: [Shape; COUNT] = {
    let mut shapes = [Shape { size: 0, first_object: 0, slab_order: 0 }; COUNT];
    let mut size = 0_usize;
    let mut class = 0;
    while class < COUNT {
        size += if size < 128 { GRANULE } else { 1 << (size.ilog2() - 2) };
        shapes[class] = shape(size);
        class += 1;
    }
    assert!(size == MAX_SIZE);
    shapes
};

/// The smallest slab of which the header and the rest behind the last object take at most an eighth.
const fn shape(size: usize) -> Shape {
    // What divides the size divides every object's offset if it divides the first one's: objects are as aligned as
    // a class can be. Behind the header there is room for that: the slab's size is a power of two.
    let first_object = size_of::<Slab>().next_multiple_of(1 << size.trailing_zeros());
    let mut slab_order = 0;
    loop {
        let slab_bytes = PAGE_SIZE << slab_order;
        let used = (slab_bytes - first_object) / size * size;
        if (slab_bytes - used) * 8 <= slab_bytes {
            return Shape { size: size as u16, first_object: first_object as u16, slab_order };
        }
        slab_order += 1;
    }
}

/// The class of a size in granules, rounded up.
const CLASS_OF: [u8; MAX_SIZE / GRANULE + 1] = {
    let mut classes = [0; MAX_SIZE / GRANULE + 1];
    let mut class = 0;
    let mut granules = 0;
    while granules < classes.len() {
        if granules * GRANULE > SHAPES[class].size as usize {
            class += 1;
        }
        classes[granules] = class as u8;
        granules += 1;
    }
    classes
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn sizes() {
        let sizes: Vec<_> = SizeClass::all().map(SizeClass::size).collect();
        assert_eq!(
            sizes,
            [
                16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896,
                1024, 1280, 1536, 1792, 2048
            ]
        );
    }

    #[test]
    fn the_smallest_class_that_fits() {
        for size in 0..=MAX_SIZE {
            let class = SizeClass::of(layout(size, 1)).unwrap();
            assert!(class.size() >= size);
            assert!(SizeClass::all().all(|other| other.size() >= class.size() || other.size() < size));
        }
        assert_eq!(SizeClass::of(layout(MAX_SIZE + 1, 1)), None);
        assert_eq!(SizeClass::of(layout(isize::MAX as usize, 1)), None);
        assert_eq!(SizeClass::of(layout(1, 2 * MAX_SIZE)), None);
        assert_eq!(SizeClass::of(layout(0, 1 << (usize::BITS - 2))), None);
    }

    #[test]
    fn every_object_of_the_class_is_aligned() {
        for align in (0..=11).map(|shift| 1 << shift) {
            for size in 0..=MAX_SIZE {
                let Some(class) = SizeClass::of(layout(size, align)) else { continue };
                assert!(class.size() >= size.max(align));
                assert_eq!(class.size() % align, 0, "size {size}, alignment {align}");
                assert_eq!(class.first_object() % align, 0, "size {size}, alignment {align}");
            }
        }
    }

    #[test]
    fn slabs() {
        for class in SizeClass::all() {
            assert!(class.first_object() >= size_of::<Slab>());
            assert!(class.objects_per_slab() >= 2, "the heap relies on it");
            assert!(class.slab_order() <= 2);
            assert!(class.objects_per_slab() * class.size() * 8 >= class.slab_bytes() * 7);
        }
    }
}
