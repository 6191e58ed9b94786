//! The services: parts of the operating system that are in an image only if its program uses them.

/// A service. Discriminants are the places in [`Service::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Service {
    /// Files in memory, the image's tree, /proc, /dev and /sys, locks of files.
    Files,
    /// pipe(2).
    Pipes,
    /// epoll(7), eventfd(2), timerfd_create(2), signalfd(2), select(2).
    Events,
    /// POSIX timers and interval timers.
    Timers,
    /// Policies and priorities of threads.
    Scheduling,
    /// What futex(2) does beyond waiting and waking: requeueing, priority inheritance, futex_waitv(2).
    Futexes,
    /// Sockets, the network stack and its devices.
    Net,
    /// Sockets inside the image (unix(7)).
    Local,
}

impl Service {
    /// All, in the order in which they start.
    pub const ALL: [Self; 8] = [
        Self::Files,
        Self::Pipes,
        Self::Events,
        Self::Timers,
        Self::Scheduling,
        Self::Futexes,
        Self::Net,
        Self::Local,
    ];

    /// What a manifest calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Pipes => "pipes",
            Self::Events => "events",
            Self::Timers => "timers",
            Self::Scheduling => "scheduling",
            Self::Futexes => "futexes",
            Self::Net => "net",
            Self::Local => "local",
        }
    }

    /// The symbol that has the linker keep it.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Files => "includeos_files",
            Self::Pipes => "includeos_pipes",
            Self::Events => "includeos_events",
            Self::Timers => "includeos_timers",
            Self::Scheduling => "includeos_scheduling",
            Self::Futexes => "includeos_futexes",
            Self::Net => "includeos_net",
            Self::Local => "includeos_local",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_symbols_follow_from_the_names() {
        for (place, service) in Service::ALL.into_iter().enumerate() {
            assert_eq!(service as usize, place);
            assert_eq!(service.symbol().strip_prefix("includeos_"), Some(service.name()));
        }
    }
}
