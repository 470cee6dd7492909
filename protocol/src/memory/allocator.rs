//! A global allocator that wipes every block before it goes back to the system.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// The net below everything else: what a library left in a freed buffer is gone.
///
/// ```text
/// #[global_allocator]
/// static ALLOCATOR: WipingAllocator = WipingAllocator;
/// ```
pub struct WipingAllocator;

// SAFETY: every block comes from, and goes back to, the system allocator with its own layout.
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the one that the system allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is `layout.size()` writable bytes until it is freed below.
        unsafe { memsec::memzero(block, layout.size()) };
        // SAFETY: the caller hands back a block of this layout.
        unsafe { System.dealloc(block, layout) };
    }

    /// Moves by hand: the system's `realloc` would leave the old block readable.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
            return ptr::null_mut();
        };
        // SAFETY: `new_size` is not zero, as `realloc` demands of its caller.
        let moved = unsafe { System.alloc(new_layout) };
        if !moved.is_null() {
            let kept = layout.size().min(new_size);
            // SAFETY: two different live blocks, each of at least `kept` bytes.
            unsafe { ptr::copy_nonoverlapping(block, moved, kept) };
            // SAFETY: the old block is live and of this layout.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grown_block_keeps_its_bytes() {
        let layout = Layout::from_size_align(16, 8).unwrap();
        // SAFETY: the layout is not empty.
        let block = unsafe { WipingAllocator.alloc_zeroed(layout) };
        // SAFETY: sixteen writable bytes.
        unsafe { ptr::write_bytes(block, 0x5a, 16) };
        // SAFETY: the block has this layout.
        let block = unsafe { WipingAllocator.realloc(block, layout, 4096) };
        // SAFETY: the first sixteen bytes were copied.
        let kept = unsafe { std::slice::from_raw_parts(block, 16) };
        assert_eq!(kept, [0x5a; 16]);
        // SAFETY: the block now has 4096 bytes with the same alignment.
        unsafe { WipingAllocator.dealloc(block, Layout::from_size_align(4096, 8).unwrap()) };
    }
}
