//! A slab: one block of pages, cut into objects of one class, with a header at its start.
//!
//! The block is aligned to its size, so the header is found from any object by masking the address. Objects that
//! were handed out and came back form a list through their own first word; those behind `fresh` have never been
//! handed out and are not touched before they are needed.

use core::ptr::NonNull;

use crate::size_class::SizeClass;

/// Header of a slab. Lives in the slab's first bytes; everything else refers to it by pointer, and the pointer may
/// be used for the whole block.
///
/// The functions here are `unsafe` for one reason: they follow `NonNull<Slab>`.
///
/// # Safety (all functions)
/// `slab` came from [`Slab::create`], its block has not gone back to the page source, and nobody else uses the slab's
/// header or free objects meanwhile.
pub(crate) struct Slab {
    /// Neighbours in the heap's list of slabs with free objects.
    pub(crate) next: Option<NonNull<Slab>>,
    pub(crate) prev: Option<NonNull<Slab>>,
    free: Option<NonNull<FreeObject>>,
    /// Offset of the first object that was never handed out.
    fresh: u16,
    /// Objects in use.
    pub(crate) used: u16,
    class: SizeClass,
    /// All objects are in use, and the slab is not in the heap's list.
    pub(crate) full: bool,
}

struct FreeObject {
    next: Option<NonNull<FreeObject>>,
}

/// Fresh objects that enter the free list at a time: enough to make their cost small, and few enough that a slab of
/// which one object is used stays untouched for the most part.
const BATCH: usize = 8;

impl Slab {
    /// Writes the header of an empty slab.
    ///
    /// # Safety
    /// `block` is writable memory of `class.slab_bytes()`, aligned to that, and nobody else's.
    pub(crate) unsafe fn create(block: NonNull<u8>, class: SizeClass) -> NonNull<Slab> {
        let slab = block.cast::<Slab>();
        let fresh = class.first_object() as u16;
        // SAFETY: the block is larger and more aligned than a header, and ours alone.
        unsafe {
            slab.write(Slab { next: None, prev: None, free: None, fresh, used: 0, class, full: false })
        };
        slab
    }

    /// The slab that holds an object.
    ///
    /// # Safety
    /// `object` came from [`Slab::take`] of a slab of this class that still exists.
    #[inline]
    pub(crate) unsafe fn of(object: NonNull<u8>, class: SizeClass) -> NonNull<Slab> {
        let slab = object.as_ptr().map_addr(|addr| addr & !(class.slab_bytes() - 1)).cast::<Slab>();
        // SAFETY: it is the start of the block the object lies in.
        unsafe { NonNull::new_unchecked(slab) }
    }

    /// Takes an object off the free list. `None`: it is empty; [`Slab::refill`] may help.
    ///
    /// # Safety
    /// See [`Slab`].
    #[inline]
    pub(crate) unsafe fn take(slab: NonNull<Slab>) -> Option<NonNull<u8>> {
        // SAFETY: the header is valid and ours (caller).
        let header = unsafe { &mut *slab.as_ptr() };
        let object = header.free?;
        // SAFETY: what is on the free list is a free object of this slab, and `put` or `refill` wrote its link.
        header.free = unsafe { object.read() }.next;
        header.used += 1;
        Some(object.cast())
    }

    /// Puts an object on the free list.
    ///
    /// # Safety
    /// See [`Slab`]. `object` came from [`Slab::take`] of this slab, was not put back since, and is no longer used.
    #[inline]
    pub(crate) unsafe fn put(slab: NonNull<Slab>, object: NonNull<u8>) {
        // SAFETY: the header is valid and ours (caller).
        let header = unsafe { &mut *slab.as_ptr() };
        let object = object.cast::<FreeObject>();
        // SAFETY: an object has at least 16 bytes, aligned to as many, and this one is ours again (caller).
        unsafe { object.write(FreeObject { next: header.free }) };
        header.free = Some(object);
        header.used -= 1;
    }

    /// Moves some never-used objects to the free list if that is empty. `false`: it is still empty, so every object
    /// is in use.
    ///
    /// # Safety
    /// See [`Slab`].
    pub(crate) unsafe fn refill(slab: NonNull<Slab>) -> bool {
        // SAFETY: the header is valid and ours (caller).
        let header = unsafe { &mut *slab.as_ptr() };
        if header.free.is_some() {
            return true;
        }
        let size = header.class.size();
        let fresh = header.fresh as usize;
        let count = ((header.class.slab_bytes() - fresh) / size).min(BATCH);
        // Last to first, so that the first is handed out first.
        for index in (0..count).rev() {
            // SAFETY: `count` objects from `fresh` on lie within the block, and none was ever handed out.
            let object = unsafe { slab.cast::<u8>().add(fresh + index * size) }.cast::<FreeObject>();
            // SAFETY: as above; objects are at least 16 bytes, aligned to as many.
            unsafe { object.write(FreeObject { next: header.free }) };
            header.free = Some(object);
        }
        header.fresh += (count * size) as u16;
        count > 0
    }

    /// Panics unless `object` is in use in this slab, which is of this class. Walks the free list: for debug builds.
    ///
    /// # Safety
    /// See [`Slab`].
    pub(crate) unsafe fn assert_in_use(slab: NonNull<Slab>, class: SizeClass, object: NonNull<u8>) {
        // SAFETY: the header is valid and ours (caller).
        let header = unsafe { slab.as_ref() };
        assert!(header.class == class, "heap: {object:p} was allocated with another size");
        let offset = (object.addr().get() - slab.addr().get()).wrapping_sub(class.first_object());
        assert!(offset.is_multiple_of(class.size()), "heap: {object:p} is not the start of an object");
        let mut free = header.free;
        while let Some(other) = free {
            assert!(other.cast() != object, "heap: {object:p} is freed twice");
            // SAFETY: what is on the free list is a free object of this slab, and `put` or `refill` wrote its link.
            free = unsafe { other.read() }.next;
        }
        assert!(header.used > 0, "heap: {object:p} is freed twice");
    }
}

const _: () = assert!(size_of::<Slab>() == 4 * size_of::<usize>());
