//! The atomics and cells of this crate: core's, and loom's under `cfg(loom)`, so that the models in `tests/loom.rs` run the
//! very code that the kernel runs.

#[cfg(not(loom))]
pub use core::hint::spin_loop;
#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
#[cfg(loom)]
pub use loom::{cell::UnsafeCell, hint::spin_loop, sync::atomic::Ordering};

#[cfg(loom)]
pub use self::modelled::{AtomicBool, AtomicU8, AtomicU64};

/// Makes `const` functions of functions; under loom, plain ones, as its types are known to the model that makes them.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visibility:vis fn $($rest:tt)*) => {
        #[cfg(not(loom))]
        $(#[$attribute])*
        $visibility const fn $($rest)*
        #[cfg(loom)]
        $(#[$attribute])*
        $visibility fn $($rest)*
    };
}
pub(crate) use const_fn;

/// A cell that is reached as loom's is.
#[cfg(not(loom))]
pub struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    /// Calls `f` with the value's address, for reading.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Calls `f` with the value's address, for writing.
    #[inline]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

#[cfg(loom)]
mod modelled {
    use core::ops::Deref;
    use loom::sync::atomic::{self, Ordering, fence};

    /// An atomic of loom's whose sequentially consistent loads are that. Loom orders no accesses sequentially, only fences;
    /// one before the load orders it behind the writes before it, as both of the two sides do that must not both miss. (So
    /// a model does not notice if only the write of such a pair is weakened.)
    macro_rules! modelled {
        ($($name:ident: $value:ty),*) => { $(
            pub struct $name(atomic::$name);

            impl $name {
                pub fn new(value: $value) -> Self {
                    Self(atomic::$name::new(value))
                }

                pub fn load(&self, order: Ordering) -> $value {
                    if order == Ordering::SeqCst {
                        fence(Ordering::SeqCst);
                    }
                    self.0.load(order)
                }
            }

            impl Deref for $name {
                type Target = atomic::$name;
                fn deref(&self) -> &Self::Target {
                    &self.0
                }
            }
        )* };
    }
    modelled!(AtomicBool: bool, AtomicU8: u8, AtomicU64: u64);
}
