//! Objects of any layout, on top of pages.
//!
//! Small layouts are served from slabs of their [`SizeClass`]; larger ones are page blocks of their own. The layout
//! alone tells which, so nothing is stored beside a large block, and an object's slab is found by masking its
//! address.
//!
//! Per class, slabs with free objects are in a list, and only the first of them is allocated from. A slab is taken
//! out when it is found exhausted, and comes back, in front, with the first object freed in it; a full slab is in no
//! list. A slab without any object in use goes back to the page source, except one per class, which stays to
//! save the round trip. [`Heap::trim`] gives up those too.
//!
//! Rules that the SAFETY comments cite:
//!
//! 1. A slab is *live* from [`Slab::create`] until its block goes back to the page source. `partial`, `spare` and the
//!    links between slabs point to live slabs of their class. Only [`Class::release`] ends a slab's life, and it
//!    removes the slab from all three first.
//! 2. A slab with an object in use is live. Hence so is the slab of any pointer that may be passed to `dealloc`.
//! 3. Headers and free objects of live slabs are touched by the heap alone, and the heap is borrowed mutably while
//!    it is at work.
//! 4. A slab is in the list exactly if it is not marked full.

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use crate::PAGE_SIZE;
use crate::size_class::SizeClass;
use crate::slab::Slab;

/// Where a [`Heap`] gets its pages.
///
/// # Safety
/// What `alloc_pages` returns is `PAGE_SIZE << order` bytes of memory, aligned to that size, readable and writable,
/// and used by nobody else until it is passed to `free_pages`. The pointer may be used for the whole of it.
pub unsafe trait PageSource {
    /// Takes `1 << order` pages, whatever they contain. `None`: there are not as many in one piece. Must cope with any
    /// order.
    fn alloc_pages(&mut self, order: u8) -> Option<NonNull<u8>>;

    /// Takes pages back.
    ///
    /// # Safety
    /// `ptr` came from `alloc_pages` of this source with the same order, and nobody uses the pages any more.
    unsafe fn free_pages(&mut self, ptr: NonNull<u8>, order: u8);
}

/// A heap. Has no memory of its own at first: everything comes from the [`PageSource`] that is passed in, which
/// must be the same one, or one with the same pages behind it, for the heap's whole life.
///
/// A slab belongs to the heap that made it, so an object goes back to the heap it came from. Where several CPUs
/// allocate, put a cache with a stack for each [`SizeClass`] in front of one locked heap: an object freed on another
/// CPU then enters that CPU's cache, and the heap never knows.
///
/// Dropping the heap leaks its slabs.
pub struct Heap {
    classes: [Class; SizeClass::COUNT],
    large_objects: usize,
    large_bytes: usize,
}

/// What a [`Heap`] holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapStats {
    /// Objects allocated, small and large.
    pub objects: usize,
    /// Bytes of these, rounded up to their classes or blocks.
    pub object_bytes: usize,
    /// Bytes taken from the page source for slabs.
    pub slab_bytes: usize,
    /// Bytes of the slabs that hold no object; [`Heap::trim`] gives them back.
    pub spare_bytes: usize,
    /// Bytes taken from the page source for large objects.
    pub large_bytes: usize,
}

// SAFETY: the pages are used through this value alone, and nothing about them is bound to a thread.
unsafe impl Send for Heap {}

impl Heap {
    /// An empty heap.
    pub const fn new() -> Self {
        Self { classes: [const { Class::new() }; SizeClass::COUNT], large_objects: 0, large_bytes: 0 }
    }

    /// Allocates memory for a layout, with any contents. `None`: the page source has no block for it.
    ///
    /// A layout of size 0 gets memory like any other, as if it had the size of its alignment. Takes at most one block
    /// from the page source.
    #[inline]
    pub fn alloc(&mut self, layout: Layout, pages: &mut impl PageSource) -> Option<NonNull<u8>> {
        let Some(class) = SizeClass::of(layout) else { return self.alloc_large(layout, pages) };
        let slabs = &mut self.classes[class.index()];
        if let Some(slab) = slabs.partial {
            // SAFETY: live and ours (rules 1, 3).
            if let Some(object) = unsafe { Slab::take(slab) } {
                return Some(object);
            }
        }
        slabs.alloc_slow(class, pages)
    }

    /// Frees memory. Gives at most one block back to the page source.
    ///
    /// Builds with debug assertions panic on a double free, a pointer into the middle of an object, or the layout of
    /// another class, where these can be seen.
    ///
    /// # Safety
    /// `ptr` came from `alloc` or `realloc` of this heap, with this layout (after `realloc`: with the new size), was
    /// not freed since, and is not used any more. It may be used as far as the pointer that was returned (a pointer
    /// into a `Box` under Stacked Borrows may not: its reach ends with the object, and the slab's header is outside).
    #[inline]
    pub unsafe fn dealloc(&mut self, ptr: NonNull<u8>, layout: Layout, pages: &mut impl PageSource) {
        let Some(class) = SizeClass::of(layout) else {
            // SAFETY: passed on; the layout is large.
            return unsafe { self.dealloc_large(ptr, layout, pages) };
        };
        // SAFETY: a pointer of this class came from `Slab::take`, and its slab is live (rule 2).
        let slab = unsafe { Slab::of(ptr, class) };
        if cfg!(debug_assertions) {
            // SAFETY: live and ours (rules 2, 3).
            unsafe { Slab::assert_in_use(slab, class, ptr) };
        }
        // SAFETY: live and ours (rules 2, 3); the caller gives the object up.
        let Slab { used, full, .. } = unsafe {
            Slab::put(slab, ptr);
            slab.as_ref()
        };
        if *full || *used == 0 {
            // SAFETY: live (rule 2), of this heap (caller).
            unsafe { self.classes[class.index()].dealloc_slow(slab, class, pages) };
        }
    }

    /// Changes the size of an allocation. The contents stay up to the smaller of both sizes; the alignment stays.
    ///
    /// In place when both sizes have the same class or page order. `None`: there is no memory; `ptr` is as it was.
    ///
    /// # Safety
    /// As [`Heap::dealloc`], for `ptr` and the old `layout`; except that on `None` the allocation lives on.
    #[inline]
    pub unsafe fn realloc(
        &mut self,
        ptr: NonNull<u8>,
        layout: Layout,
        new_size: usize,
        pages: &mut impl PageSource,
    ) -> Option<NonNull<u8>> {
        let new_layout = Layout::from_size_align(new_size, layout.align()).ok()?;
        let stays = match (SizeClass::of(layout), SizeClass::of(new_layout)) {
            (None, None) => page_order(layout) == page_order(new_layout),
            (old, new) => old == new,
        };
        if stays {
            return Some(ptr);
        }
        let new = self.alloc(new_layout, pages)?;
        // SAFETY: both are valid for the smaller size, and a new allocation overlaps no old one.
        unsafe { ptr::copy_nonoverlapping(ptr.as_ptr(), new.as_ptr(), layout.size().min(new_size)) };
        // SAFETY: passed on.
        unsafe { self.dealloc(ptr, layout, pages) };
        Some(new)
    }

    /// Gives the spare slabs back to the page source, at most one per class, and returns how many bytes that were.
    pub fn trim(&mut self, pages: &mut impl PageSource) -> usize {
        SizeClass::all().map(|class| self.classes[class.index()].trim(class, pages)).sum()
    }

    /// What the heap holds now. Looks at every slab that has a free object: for reports.
    pub fn stats(&self) -> HeapStats {
        let mut stats = HeapStats {
            objects: self.large_objects,
            object_bytes: self.large_bytes,
            large_bytes: self.large_bytes,
            ..HeapStats::default()
        };
        for class in SizeClass::all() {
            self.classes[class.index()].add_stats(class, &mut stats);
        }
        stats
    }

    #[cold]
    #[inline(never)]
    fn alloc_large(&mut self, layout: Layout, pages: &mut impl PageSource) -> Option<NonNull<u8>> {
        let order = page_order(layout);
        let block = pages.alloc_pages(order)?;
        self.large_objects += 1;
        self.large_bytes += PAGE_SIZE << order;
        Some(block)
    }

    /// # Safety
    /// As [`Heap::dealloc`], and the layout is large.
    #[cold]
    #[inline(never)]
    unsafe fn dealloc_large(&mut self, ptr: NonNull<u8>, layout: Layout, pages: &mut impl PageSource) {
        let order = page_order(layout);
        self.large_objects -= 1;
        self.large_bytes -= PAGE_SIZE << order;
        // SAFETY: `alloc_large` took the block with the order of the same layout, and the caller gives it up.
        unsafe { pages.free_pages(ptr, order) };
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

/// Order of the page block that holds a layout. Cannot overflow: a layout ends below `isize::MAX`.
fn page_order(layout: Layout) -> u8 {
    layout.size().max(layout.align()).div_ceil(PAGE_SIZE).next_power_of_two().ilog2() as u8
}

/// The slabs of one class.
struct Class {
    /// List of the slabs that are not full. Any but the first has a free object for certain.
    partial: Option<NonNull<Slab>>,
    /// The slab that was last found empty and kept. May be in use again.
    spare: Option<NonNull<Slab>>,
    /// Slabs that are live.
    slabs: usize,
}

impl Class {
    const fn new() -> Self {
        Self { partial: None, spare: None, slabs: 0 }
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&mut self, class: SizeClass, pages: &mut impl PageSource) -> Option<NonNull<u8>> {
        // At most twice: only the first slab of the list can be exhausted.
        while let Some(slab) = self.partial {
            // SAFETY: live and ours (rules 1, 3).
            if unsafe { Slab::refill(slab) } {
                // SAFETY: as above.
                return unsafe { Slab::take(slab) };
            }
            self.retire(slab);
        }
        let block = pages.alloc_pages(class.slab_order())?;
        // SAFETY: the page source promises a block of that size and alignment for us alone.
        let slab = unsafe { Slab::create(block, class) };
        self.slabs += 1;
        self.link(slab);
        // SAFETY: live and ours (rules 1, 3).
        unsafe {
            Slab::refill(slab);
            Slab::take(slab)
        }
    }

    /// Deals with a slab of which the only free object, or the last one in use, has just been freed.
    ///
    /// # Safety
    /// `slab` is live and of this class of this heap.
    #[cold]
    #[inline(never)]
    unsafe fn dealloc_slow(
        &mut self,
        mut slab: NonNull<Slab>,
        class: SizeClass,
        pages: &mut impl PageSource,
    ) {
        // SAFETY: live (caller) and ours (rule 3).
        let header = unsafe { slab.as_mut() };
        if header.full {
            header.full = false;
            self.link(slab);
            // No slab holds only one object: it is not empty yet.
            return;
        }
        match self.spare {
            Some(spare) if spare == slab => {}
            // SAFETY: `spare` is live and ours (rules 1, 3).
            Some(spare) if unsafe { spare.as_ref() }.used == 0 => {
                // SAFETY: empty, and in the list as it is not marked full (rule 4).
                unsafe { self.release(slab, class, pages) };
            }
            _ => self.spare = Some(slab),
        }
    }

    fn trim(&mut self, class: SizeClass, pages: &mut impl PageSource) -> usize {
        match self.spare.take() {
            // SAFETY: `spare` is live and ours (rules 1, 3).
            Some(spare) if unsafe { spare.as_ref() }.used == 0 => {
                // SAFETY: empty, hence not marked full, hence in the list (rule 4); `spare` was cleared above.
                unsafe { self.release(spare, class, pages) };
                class.slab_bytes()
            }
            _ => 0,
        }
    }

    fn add_stats(&self, class: SizeClass, stats: &mut HeapStats) {
        let mut objects = 0;
        let mut full = self.slabs;
        let mut next = self.partial;
        while let Some(slab) = next {
            // SAFETY: live and ours (rules 1, 3).
            let header = unsafe { slab.as_ref() };
            objects += header.used as usize;
            full -= 1;
            if header.used == 0 {
                stats.spare_bytes += class.slab_bytes();
            }
            next = header.next;
        }
        objects += full * class.objects_per_slab();
        stats.objects += objects;
        stats.object_bytes += objects * class.size();
        stats.slab_bytes += self.slabs * class.slab_bytes();
    }

    /// Puts a slab in front of the list.
    fn link(&mut self, mut slab: NonNull<Slab>) {
        if let Some(first) = self.partial {
            // Keeps the promise that only the first can be exhausted.
            // SAFETY: live and ours (rules 1, 3).
            if !unsafe { Slab::refill(first) } {
                self.retire(first);
            }
        }
        // SAFETY: live and ours (rules 1, 3), and so is the slab that was first.
        unsafe {
            slab.as_mut().next = self.partial;
            slab.as_mut().prev = None;
            if let Some(mut first) = self.partial {
                first.as_mut().prev = Some(slab);
            }
        }
        self.partial = Some(slab);
    }

    /// Marks an exhausted slab full and takes it out of the list.
    fn retire(&mut self, mut slab: NonNull<Slab>) {
        // SAFETY: live and ours (rules 1, 3).
        unsafe { slab.as_mut() }.full = true;
        self.unlink(slab);
    }

    /// Takes a slab out of the list.
    fn unlink(&mut self, slab: NonNull<Slab>) {
        // SAFETY: live and ours (rules 1, 3), and so are its neighbours.
        unsafe {
            let Slab { next, prev, .. } = *slab.as_ref();
            match prev {
                Some(mut prev) => prev.as_mut().next = next,
                None => self.partial = next,
            }
            if let Some(mut next) = next {
                next.as_mut().prev = prev;
            }
        }
    }

    /// Gives a slab back to the page source.
    ///
    /// # Safety
    /// `slab` is live, of this class, in the list, empty, and not `spare`.
    unsafe fn release(&mut self, slab: NonNull<Slab>, class: SizeClass, pages: &mut impl PageSource) {
        self.unlink(slab);
        self.slabs -= 1;
        // SAFETY: the block came from the page source with this order; it holds no object, and by rule 1 nothing
        // points to it any more.
        unsafe { pages.free_pages(slab.cast(), class.slab_order()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rng::{Rng, for_seeds};
    use crate::{Buddy, MAX_ORDER};
    use std::collections::HashMap;
    use std::vec;
    use std::vec::Vec;

    /// Pages of the host, full of rubbish; knows which are out.
    #[derive(Default)]
    struct HostPages {
        out: HashMap<NonNull<u8>, u8>,
        /// Refuses to hand out more blocks than this.
        limit: Option<usize>,
    }

    impl HostPages {
        fn bytes(&self) -> usize {
            self.out.values().map(|&order| PAGE_SIZE << order).sum()
        }
    }

    fn block_layout(order: u8) -> Option<Layout> {
        let size = PAGE_SIZE.checked_mul(1_usize.checked_shl(order.into())?)?;
        Layout::from_size_align(size, size).ok()
    }

    // SAFETY: the host's allocator promises the same for the layout of a block.
    unsafe impl PageSource for HostPages {
        fn alloc_pages(&mut self, order: u8) -> Option<NonNull<u8>> {
            if order > 10 || self.limit.is_some_and(|limit| self.out.len() >= limit) {
                return None;
            }
            let layout = block_layout(order)?;
            // SAFETY: the size is not 0.
            let block = NonNull::new(unsafe { std::alloc::alloc(layout) })?;
            // SAFETY: just allocated with this size.
            unsafe { block.write_bytes(0x5a, layout.size()) };
            self.out.insert(block, order);
            Some(block)
        }

        unsafe fn free_pages(&mut self, ptr: NonNull<u8>, order: u8) {
            assert_eq!(self.out.remove(&ptr), Some(order));
            // SAFETY: allocated with this layout (asserted).
            unsafe { std::alloc::dealloc(ptr.as_ptr(), block_layout(order).unwrap()) };
        }
    }

    /// A stretch of memory behind a [`Buddy`], as the kernel has it.
    struct BuddyPages {
        buddy: Buddy,
        base: NonNull<u8>,
    }

    impl BuddyPages {
        fn new(order: u8) -> Self {
            // SAFETY: the size is not 0. Never freed.
            let base = NonNull::new(unsafe { std::alloc::alloc(block_layout(order).unwrap()) }).unwrap();
            let frames = 1 << order;
            let mut buddy = Buddy::new(frames, vec![!0; Buddy::storage_words(frames)].leak()).unwrap();
            buddy.free_range(0, frames).unwrap();
            Self { buddy, base }
        }
    }

    // SAFETY: `buddy` hands each frame out once, and `base` is as aligned as its largest block.
    unsafe impl PageSource for BuddyPages {
        fn alloc_pages(&mut self, order: u8) -> Option<NonNull<u8>> {
            let frame = self.buddy.alloc(order)?;
            // SAFETY: frames are numbered within the memory at `base`.
            Some(unsafe { self.base.add(frame * PAGE_SIZE) })
        }

        unsafe fn free_pages(&mut self, ptr: NonNull<u8>, order: u8) {
            let frame = (ptr.addr().get() - self.base.addr().get()) / PAGE_SIZE;
            self.buddy.free(frame, order).unwrap();
        }
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn objects_are_reused_and_slabs_returned() {
        let (mut heap, mut pages) = (Heap::new(), HostPages::default());
        let layout = layout(64, 8);
        let first = heap.alloc(layout, &mut pages).unwrap();
        let second = heap.alloc(layout, &mut pages).unwrap();
        assert_eq!(second.addr().get() - first.addr().get(), 64);
        assert_eq!(
            heap.stats(),
            HeapStats { objects: 2, object_bytes: 128, slab_bytes: 4096, ..HeapStats::default() }
        );
        // SAFETY: allocated above.
        unsafe { heap.dealloc(first, layout, &mut pages) };
        assert_eq!(heap.alloc(layout, &mut pages), Some(first));
        // SAFETY: allocated above.
        unsafe {
            heap.dealloc(first, layout, &mut pages);
            heap.dealloc(second, layout, &mut pages);
        }
        assert_eq!(heap.stats(), HeapStats { slab_bytes: 4096, spare_bytes: 4096, ..HeapStats::default() });
        assert_eq!(heap.trim(&mut pages), 4096);
        assert_eq!(heap.trim(&mut pages), 0);
        assert_eq!((heap.stats(), pages.out.len()), (HeapStats::default(), 0));
    }

    #[test]
    fn one_spare_slab_stays_for_each_class() {
        for class in SizeClass::all() {
            let (mut heap, mut pages) = (Heap::new(), HostPages::default());
            let layout = layout(class.size(), 1);
            let per_slab = class.objects_per_slab();
            let objects: Vec<_> =
                (0..per_slab * 3 + 1).map(|_| heap.alloc(layout, &mut pages).unwrap()).collect();
            assert_eq!(pages.out.len(), 4);
            assert_eq!(heap.stats().objects, objects.len());
            for (freed, object) in objects.into_iter().enumerate() {
                assert_eq!(heap.stats().objects, per_slab * 3 + 1 - freed);
                // SAFETY: allocated above.
                unsafe { heap.dealloc(object, layout, &mut pages) };
            }
            assert_eq!(pages.out.len(), 1);
            assert_eq!(heap.trim(&mut pages), class.slab_bytes());
            assert_eq!(pages.out.len(), 0);
        }
    }

    #[test]
    fn an_empty_slab_and_one_object_do_not_cost_a_page_each_time() {
        let (mut heap, mut pages) = (Heap::new(), HostPages::default());
        let layout = layout(2048, 1);
        let object = heap.alloc(layout, &mut pages).unwrap();
        // SAFETY: allocated above.
        unsafe { heap.dealloc(object, layout, &mut pages) };
        pages.limit = Some(0);
        for _ in 0..10 {
            assert_eq!(heap.alloc(layout, &mut pages), Some(object));
            // SAFETY: allocated above.
            unsafe { heap.dealloc(object, layout, &mut pages) };
        }
        heap.trim(&mut pages);
    }

    #[test]
    fn large_layouts_are_blocks_of_their_own() {
        let (mut heap, mut pages) = (Heap::new(), HostPages::default());
        for (size, align, order) in
            [(2049, 1, 0), (4096, 4096, 0), (4097, 1, 1), (1, 8192, 1), (0, 4096, 0), (20_000, 16, 3)]
        {
            let layout = layout(size, align);
            let block = heap.alloc(layout, &mut pages).unwrap();
            assert_eq!(pages.out.get(&block), Some(&order));
            assert_eq!(heap.stats().large_bytes, PAGE_SIZE << order);
            // SAFETY: allocated above.
            unsafe { heap.dealloc(block, layout, &mut pages) };
        }
        assert_eq!((heap.stats(), pages.out.len()), (HeapStats::default(), 0));
    }

    #[test]
    fn no_memory_is_none() {
        let (mut heap, mut pages) = (Heap::new(), HostPages { limit: Some(1), ..HostPages::default() });
        assert_eq!(heap.alloc(layout(isize::MAX as usize, 1), &mut pages), None);
        assert_eq!(heap.alloc(layout(0, 1 << (usize::BITS - 2)), &mut pages), None);
        let layout = layout(1000, 8);
        let objects: Vec<_> = core::iter::from_fn(|| heap.alloc(layout, &mut pages)).collect();
        assert_eq!(objects.len(), SizeClass::of(layout).unwrap().objects_per_slab());
        assert_eq!(heap.alloc(layout, &mut pages), None);
        // SAFETY: allocated above; on `None` it stays allocated.
        assert_eq!(unsafe { heap.realloc(objects[0], layout, 3000, &mut pages) }, None);
        // SAFETY: as above.
        assert_eq!(unsafe { heap.realloc(objects[0], layout, usize::MAX, &mut pages) }, None);
        for object in objects {
            // SAFETY: allocated above.
            unsafe { heap.dealloc(object, layout, &mut pages) };
        }
        heap.trim(&mut pages);
        assert_eq!(pages.out.len(), 0);
    }

    #[test]
    fn realloc_stays_within_class_and_block() {
        let (mut heap, mut pages) = (Heap::new(), HostPages::default());
        let mut size = 100;
        let mut object = heap.alloc(layout(size, 8), &mut pages).unwrap();
        // SAFETY: the object has that size.
        unsafe { object.write_bytes(7, size) };
        for (new_size, stays) in
            [(112, true), (97, true), (113, false), (3000, false), (4096, true), (50, false)]
        {
            // SAFETY: `object` was last given this size.
            let new = unsafe { heap.realloc(object, layout(size, 8), new_size, &mut pages) }.unwrap();
            assert_eq!(new == object, stays, "{size} to {new_size}");
            (object, size) = (new, new_size);
            // SAFETY: every size so far was at least 50.
            let bytes = unsafe { core::slice::from_raw_parts(object.as_ptr(), 50) };
            assert!(bytes.iter().all(|&byte| byte == 7));
        }
        // SAFETY: `object` was last given this size.
        unsafe { heap.dealloc(object, layout(size, 8), &mut pages) };
        heap.trim(&mut pages);
        assert_eq!(pages.out.len(), 0);
    }

    #[cfg(debug_assertions)]
    mod misuse {
        use super::*;

        /// Two objects of 64 bytes, of which the first is then freed as told.
        fn free(offset: usize, size: usize, times: usize) {
            let (mut heap, mut pages) = (Heap::new(), BuddyPages::new(0));
            let object = heap.alloc(layout(64, 8), &mut pages).unwrap();
            heap.alloc(layout(64, 8), &mut pages).unwrap();
            for _ in 0..times {
                // SAFETY: it is not; debug builds notice before anything is written.
                unsafe { heap.dealloc(object.add(offset), layout(size, 8), &mut pages) };
            }
        }

        #[test]
        #[should_panic(expected = "freed twice")]
        fn double_free() {
            free(0, 64, 2);
        }

        #[test]
        #[should_panic(expected = "not the start")]
        fn middle_of_an_object() {
            free(16, 64, 1);
        }

        #[test]
        #[should_panic(expected = "another size")]
        fn another_size() {
            free(0, 65, 1);
        }
    }

    /// An allocation, filled with its own number.
    struct Live {
        ptr: NonNull<u8>,
        layout: Layout,
        fill: u8,
    }

    impl Live {
        fn new(ptr: NonNull<u8>, layout: Layout, fill: u8) -> Self {
            assert_eq!(ptr.addr().get() % layout.align(), 0);
            // SAFETY: allocated with this layout.
            unsafe { ptr.write_bytes(fill, layout.size()) };
            Self { ptr, layout, fill }
        }

        fn check(&self, len: usize) {
            // SAFETY: allocated with at least this size and written by `new`.
            let bytes = unsafe { core::slice::from_raw_parts(self.ptr.as_ptr(), len) };
            // Compared as a whole: octet by octet takes minutes under Miri.
            assert!(bytes == vec![self.fill; len], "overwritten: {:?}", self.layout);
        }
    }

    fn random_layout(rng: &mut Rng) -> Layout {
        let size = match rng.below(8) {
            0..3 => rng.below(129),
            3..7 => rng.below(2100),
            _ => rng.below(20_000),
        };
        let align = match rng.below(8) {
            0 => 1 << rng.below(14),
            _ => 1 << rng.below(5),
        };
        layout(size, align)
    }

    /// Checks what the heap promises itself about its lists.
    fn check_lists(heap: &Heap) {
        for class in &heap.classes {
            let (mut prev, mut next, mut empty) = (None, class.partial, 0);
            while let Some(slab) = next {
                // SAFETY: in the list, hence live; the heap is not at work.
                let header = unsafe { slab.as_ref() };
                assert_eq!(header.prev, prev);
                assert!(!header.full);
                assert!(prev.is_none() || !header.is_exhausted(), "only the first may be exhausted");
                empty += usize::from(header.used == 0);
                (prev, next) = (next, header.next);
            }
            assert!(empty <= 1, "{empty} empty slabs");
        }
    }

    /// Random calls; overlap shows as a wrong fill. Leaves the heap trimmed.
    fn exercise(rng: &mut Rng, heap: &mut Heap, pages: &mut impl PageSource, steps: usize) {
        let mut live: Vec<Live> = Vec::new();
        let mut refused = 0;
        for step in 0..steps {
            // Phases of growth and of decline, so that slabs fill up and empty.
            let grow = if step / 400 % 2 == 0 { 6 } else { 2 };
            match rng.below(9) {
                choice if choice < grow => {
                    let layout = random_layout(rng);
                    match heap.alloc(layout, pages) {
                        Some(ptr) => live.push(Live::new(ptr, layout, step as u8)),
                        None => refused += 1,
                    }
                }
                8 if !live.is_empty() => {
                    let index = rng.below(live.len());
                    let old = &live[index];
                    let size = random_layout(rng).size();
                    // SAFETY: `old` is live.
                    if let Some(ptr) = unsafe { heap.realloc(old.ptr, old.layout, size, pages) } {
                        Live { ptr, layout: old.layout, fill: old.fill }.check(size.min(old.layout.size()));
                        live[index] = Live::new(ptr, layout(size, old.layout.align()), step as u8);
                    }
                }
                _ if !live.is_empty() => {
                    let old = live.swap_remove(rng.below(live.len()));
                    old.check(old.layout.size());
                    // SAFETY: `old` was live.
                    unsafe { heap.dealloc(old.ptr, old.layout, pages) };
                }
                _ => {}
            }
            if step % 64 == 0 {
                assert_eq!(heap.stats().objects, live.len());
                check_lists(heap);
            }
            if rng.below(500) == 0 {
                heap.trim(pages);
            }
        }
        assert!(refused < steps / 4);
        for old in live {
            old.check(old.layout.size());
            // SAFETY: `old` was live.
            unsafe { heap.dealloc(old.ptr, old.layout, pages) };
        }
        let stats = heap.stats();
        assert_eq!((stats.objects, stats.large_bytes), (0, 0));
        assert_eq!(stats.slab_bytes, stats.spare_bytes);
        assert!(stats.spare_bytes <= SizeClass::all().map(SizeClass::slab_bytes).sum());
        assert_eq!(heap.trim(pages), stats.spare_bytes);
        assert_eq!(heap.stats(), HeapStats::default());
    }

    #[test]
    fn contents_survive_on_host_pages() {
        for_seeds(if cfg!(miri) { 2 } else { 100 }, |mut rng| {
            let (mut heap, mut pages) = (Heap::new(), HostPages::default());
            exercise(&mut rng, &mut heap, &mut pages, if cfg!(miri) { 150 } else { 4000 });
            assert_eq!(pages.bytes(), 0);
        });
    }

    #[test]
    fn contents_survive_on_little_memory_of_a_buddy() {
        for_seeds(if cfg!(miri) { 2 } else { 100 }, |mut rng| {
            let (mut heap, mut pages) = (Heap::new(), BuddyPages::new(8));
            exercise(&mut rng, &mut heap, &mut pages, if cfg!(miri) { 150 } else { 4000 });
            assert_eq!(pages.buddy.largest_free_order(), Some(8));
            // SAFETY: allocated by `BuddyPages::new`, and the heap is empty.
            unsafe { std::alloc::dealloc(pages.base.as_ptr(), block_layout(8).unwrap()) };
        });
    }

    #[test]
    fn many_objects_of_one_class() {
        for_seeds(if cfg!(miri) { 1 } else { 50 }, |mut rng| {
            let (mut heap, mut pages) = (Heap::new(), HostPages::default());
            let class = SizeClass::all().nth(rng.below(SizeClass::COUNT)).unwrap();
            let layout = layout(class.size(), 16);
            let mut live: Vec<Live> = Vec::new();
            for step in 0..if cfg!(miri) { 150 } else { 5000 } {
                let target = if step / 1000 % 2 == 0 { 1200 } else { 0 };
                if live.len() < target || rng.below(3) == 0 {
                    let ptr = heap.alloc(layout, &mut pages).unwrap();
                    live.push(Live::new(ptr, layout, step as u8));
                } else if !live.is_empty() {
                    let old = live.swap_remove(rng.below(live.len()));
                    old.check(layout.size());
                    // SAFETY: `old` was live.
                    unsafe { heap.dealloc(old.ptr, layout, &mut pages) };
                }
                assert!(heap.stats().spare_bytes <= class.slab_bytes());
                assert_eq!(heap.stats().slab_bytes, pages.bytes());
                check_lists(&heap);
            }
            for old in live {
                // SAFETY: `old` was live.
                unsafe { heap.dealloc(old.ptr, layout, &mut pages) };
            }
            heap.trim(&mut pages);
            assert_eq!(pages.bytes(), 0);
        });
    }

    #[test]
    fn any_order_may_be_asked_of_a_page_source() {
        assert!(page_order(layout(isize::MAX as usize, 1)) > MAX_ORDER);
        assert_eq!(page_order(layout(1, 1 << (usize::BITS - 2))) as u32, usize::BITS - 2 - PAGE_SIZE.ilog2());
    }
}
