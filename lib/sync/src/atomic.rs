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

    /// An atomic of loom's, with two things that loom does not know put right:
    ///
    /// * a sequentially consistent load is behind the sequentially consistent writes before it: loom orders only fences so.
    ///   (A model does not notice, therefore, if of two sides that must not both miss only the write is weakened.)
    /// * a store has its place behind the exchanges that others made meanwhile. For that it is one.
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

                pub fn store(&self, value: $value, order: Ordering) {
                    self.0.swap(value, order);
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
