//! [`Once`]: a value that is set one time, at boot, and read for ever.

use core::mem::MaybeUninit;

use crate::atomic::{AtomicU8, Ordering, UnsafeCell, const_fn};

const EMPTY: u8 = 0;
const SETTING: u8 = 1;
const SET: u8 = 2;

/// A value that is set at most once.
pub struct Once<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is written once, before `state` becomes SET, and only shared references are given out after;
// `T: Send + Sync` covers both the hand-over and the sharing.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Once<T> {
    const_fn! {
        /// An empty cell.
        pub fn new() -> Self {
            Self { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(MaybeUninit::uninit()) }
        }
    }

    /// Sets the value. `Err` gives it back: the cell was set before.
    pub fn set(&self, value: T) -> Result<(), T> {
        if self.state.compare_exchange(EMPTY, SETTING, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return Err(value);
        }
        // SAFETY: only one caller ever wins the exchange above, and `get` does not look before SET.
        self.value.with_mut(|place| unsafe { (*place).write(value) });
        // Release pairs with the Acquire in `get`.
        self.state.store(SET, Ordering::Release);
        Ok(())
    }

    /// The value, if it is set.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // Acquire pairs with the Release in `set`.
        let is_set = self.state.load(Ordering::Acquire) == SET;
        // SAFETY: SET means that the value is written and will not change.
        is_set.then(|| self.value.with(|value| unsafe { (*value).assume_init_ref() }))
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn is_set_once() {
        let once = Once::new();
        assert_eq!(once.get(), None);
        assert_eq!(once.set(1), Ok(()));
        assert_eq!(once.set(2), Err(2));
        assert_eq!(once.get(), Some(&1));
    }
}
