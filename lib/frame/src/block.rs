//! Blocks, and the links that make chains of views of them.
//!
//! Rules, which SAFETY comments cite:
//!
//! 1. A [`BlockRef`] stands for one count in `Block::refs`. While one exists, the block's memory is valid.
//! 2. Octets are read through any `BlockRef`, and written only through one that is the sole one and borrowed mutably.
//! 3. `Block::link` is owned by whoever set `link_taken`, until that one clears it.
//! 4. A link holds a view. If it is a block's own link, the view is of that block, so the block outlives the link.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

use crate::Frame;
use crate::pool::{BLOCK_ALIGN, DmaAddr, Memory, Pool};

/// Head of a block; the octets follow.
#[repr(C, align(64))]
pub(crate) struct Block {
    refs: AtomicU32,
    link_taken: AtomicBool,
    pool: &'static dyn Pool,
    memory: Memory,
    link: UnsafeCell<MaybeUninit<Link>>,
}

const _: () = assert!(align_of::<Block>() == BLOCK_ALIGN && size_of::<Block>() <= 128);

/// A view behind another one in a chain.
pub(crate) struct Link {
    pub(crate) frame: Frame,
}

/// Counted reference to a block.
pub(crate) struct BlockRef(NonNull<Block>);

// SAFETY: the count is atomic, octets change only through a sole, mutably borrowed reference (rule 2), links have one
// owner (rule 3), and `Pool` is `Sync`.
unsafe impl Send for BlockRef {}
// SAFETY: as above; a shared `BlockRef` only reads.
unsafe impl Sync for BlockRef {}

impl BlockRef {
    /// A block of its own with room for `octets`. `None`: the pool has none.
    pub(crate) fn allocate(pool: &'static dyn Pool, octets: usize) -> Option<Self> {
        let memory = pool.allocate_block(octets)?;
        debug_assert!(memory.len >= size_of::<Block>() + octets && memory.len <= 1 << 31);
        let block = memory.start.cast::<Block>();
        let head = Block {
            refs: AtomicU32::new(1),
            link_taken: AtomicBool::new(false),
            pool,
            memory,
            link: UnsafeCell::new(MaybeUninit::uninit()),
        };
        // SAFETY: `Pool` promises memory that is longer than a head, aligned for it, and ours alone.
        unsafe { block.write(head) };
        Some(Self(block))
    }

    fn block(&self) -> &Block {
        // SAFETY: rule 1; nobody makes a `&mut Block`.
        unsafe { self.0.as_ref() }
    }

    /// Octets the block has room for.
    pub(crate) fn capacity(&self) -> usize {
        self.block().memory.len - size_of::<Block>()
    }

    /// Bytes of memory the block takes.
    pub(crate) fn footprint(&self) -> usize {
        self.block().memory.len
    }

    pub(crate) fn pool(&self) -> &'static dyn Pool {
        self.block().pool
    }

    /// The first octet as devices see it.
    pub(crate) fn dma(&self) -> DmaAddr {
        self.block().memory.dma.offset(size_of::<Block>())
    }

    fn first_octet(&self) -> NonNull<u8> {
        // SAFETY: the octets follow the head in the same memory.
        unsafe { self.0.cast::<u8>().add(size_of::<Block>()) }
    }

    /// Octets `start..start + len`.
    pub(crate) fn octets(&self, start: usize, len: usize) -> &[u8] {
        assert!(start <= self.capacity() && len <= self.capacity() - start);
        // SAFETY: the range lies in the block (asserted), is initialised (`Pool`), and is not written while `self` is
        // borrowed: a writer would need the sole reference, mutably (rule 2).
        unsafe { core::slice::from_raw_parts(self.first_octet().as_ptr().add(start), len) }
    }

    /// Octets `start..start + len`, to be written. `None`: the block is shared.
    pub(crate) fn octets_mut(&mut self, start: usize, len: usize) -> Option<&mut [u8]> {
        assert!(start <= self.capacity() && len <= self.capacity() - start);
        if !self.is_sole() {
            return None;
        }
        // SAFETY: the range lies in the block (asserted) and is initialised (`Pool`). This is the sole reference, and
        // it is borrowed mutably, so nobody can make another or read (rule 2).
        Some(unsafe { core::slice::from_raw_parts_mut(self.first_octet().as_ptr().add(start), len) })
    }

    /// Whether there is no other reference to the block.
    pub(crate) fn is_sole(&self) -> bool {
        // Acquire pairs with the Release in `drop`: the other's reads are over.
        self.block().refs.load(Ordering::Acquire) == 1
    }

    fn own_link(&self) -> NonNull<Link> {
        // SAFETY: `raw_get` makes no reference, and the block is valid (rule 1).
        let link = unsafe { UnsafeCell::raw_get(&raw const (*self.0.as_ptr()).link) };
        // SAFETY: it is inside the block, so not null.
        unsafe { NonNull::new_unchecked(link.cast()) }
    }
}

impl Clone for BlockRef {
    fn clone(&self) -> Self {
        // Relaxed: whoever clones has a reference already, as in `Arc`.
        let before = self.block().refs.fetch_add(1, Ordering::Relaxed);
        // A view takes more than a byte of memory, so there cannot be that many but by leaking them.
        assert!(before < u32::MAX / 2, "frame: too many references to one block");
        Self(self.0)
    }
}

impl Drop for BlockRef {
    fn drop(&mut self) {
        // Release: what was read and written through this reference is over before the count goes down.
        if self.block().refs.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // Pairs with the Release of all others.
        fence(Ordering::Acquire);
        let (pool, memory) = (self.block().pool, self.block().memory);
        // SAFETY: it came from this pool, and the last reference is gone (rule 1).
        unsafe { pool.free_block(memory) };
    }
}

/// Owned pointer to a link.
pub(crate) struct LinkRef(NonNull<Link>);

// SAFETY: it owns the link as a box does (rule 3), and `Frame` is `Send` and `Sync`.
unsafe impl Send for LinkRef {}
// SAFETY: as above.
unsafe impl Sync for LinkRef {}

impl LinkRef {
    /// Puts a frame into a link: its first block's own, or if that is taken one from the pool. `Err`: the pool has
    /// none.
    pub(crate) fn new(frame: Frame) -> Result<Self, Frame> {
        // Acquire pairs with the Release in `into_frame`.
        let link = if !frame.block.block().link_taken.swap(true, Ordering::Acquire) {
            frame.block.own_link()
        } else {
            match frame.block.pool().allocate_link() {
                Some(link) => link.cast(),
                None => return Err(frame),
            }
        };
        // SAFETY: the link is ours: by rule 3, or from the pool, which promises the layout.
        unsafe { link.write(Link { frame }) };
        Ok(Self(link))
    }

    pub(crate) fn frame(&self) -> &Frame {
        // SAFETY: `new` wrote it, and `self` owns it.
        unsafe { &self.0.as_ref().frame }
    }

    pub(crate) fn frame_mut(&mut self) -> &mut Frame {
        // SAFETY: as in `frame`, borrowed mutably.
        unsafe { &mut self.0.as_mut().frame }
    }

    /// Takes the frame out of the link.
    pub(crate) fn into_frame(self) -> Frame {
        let link = self.0;
        core::mem::forget(self);
        // SAFETY: `new` wrote it, and nobody reads it again: `self` is gone.
        let Link { frame } = unsafe { link.read() };
        if link == frame.block.own_link() {
            // `frame` keeps the block (rule 4). Release: the link's content is out.
            frame.block.block().link_taken.store(false, Ordering::Release);
        } else {
            let pool = frame.block.pool();
            // SAFETY: `new` got it from this pool, and its content is out.
            unsafe { pool.free_link(link.cast()) };
        }
        frame
    }
}

impl Drop for LinkRef {
    fn drop(&mut self) {
        // Chains are taken apart in `Frame::drop`, one after the other; this is for a link alone.
        drop(LinkRef(self.0).into_frame());
    }
}
