//! Page-frame allocator and heap.
#![no_std]
