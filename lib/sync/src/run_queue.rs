//! [`RunQueue`]: who runs next on one CPU.
//!
//! Real-time threads go first, by priority (sched(7), `SCHED_FIFO` and `SCHED_RR`). The others share what is left by
//! weight, as in Linux's completely fair scheduler: each has a virtual time, which advances while it runs, the slower the
//! greater its weight; the one with the least runs next. The queue's *floor* is the least virtual time that somebody in it
//! has, and never goes back; a thread that leaves takes its distance from the floor along (its *lag*), so that it can
//! enter another CPU's queue. One that sleeps keeps its place in virtual time while the floor goes on, so that many that sleep and
//! wake in turn do not stay before one that is ready all the time.
//!
//! Pure: time is an argument.

use alloc::collections::{BinaryHeap, TryReserveError};
use alloc::vec::Vec;
use core::cmp::{Ordering, Reverse};

/// How long a thread runs while another of its kind is ready, in nanoseconds.
pub const SLICE_NS: u64 = 4_000_000;
/// A thread that slept is put at most so far before the floor, in virtual nanoseconds: soon on, and no credit saved up.
const SLEEPER_BONUS: i64 = 2_000_000;
/// A thread that wakes takes the CPU from one whose virtual time is so much greater, in virtual nanoseconds.
const WAKE_GRANULARITY: u64 = 1_000_000;
/// Where virtual time begins: far enough from 0 that a thread can stand before the floor.
const FIRST_FLOOR: u64 = 1 << 40;
/// The weight of nice level 0.
pub const NICE_0_WEIGHT: u32 = 1024;

/// What a thread is to the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Before all others, by priority (greater is sooner).
    RealTime {
        /// 1 to 99 for the program's.
        priority: u8,
        /// Takes turns with its equals.
        round_robin: bool,
    },
    /// By virtual time.
    Fair {
        /// Share of the CPU; [`NICE_0_WEIGHT`] is the ordinary one. Not 0.
        weight: u32,
        /// May take the CPU when it wakes.
        preempts: bool,
    },
}

/// Where among its equals a real-time thread is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It was running and something better came (sched(7): it stays at the head of its list).
    Front,
    /// It wakes, or its turn is over.
    Back,
}

struct Queued<T> {
    /// Greater is sooner.
    key: (u8, Reverse<u64>, Reverse<i64>),
    class: Class,
    value: T,
}

impl<T> Queued<T> {
    fn virtual_ns(&self) -> u64 {
        self.key.1.0
    }

    fn is_fair(&self) -> bool {
        self.key.0 == 0
    }
}

impl<T> Ord for Queued<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}
impl<T> PartialOrd for Queued<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> PartialEq for Queued<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl<T> Eq for Queued<T> {}

struct Running {
    class: Class,
    virtual_ns: u64,
    /// Up to when its time is charged, and how much was since it was last asked for.
    charged_ns: u64,
    used_ns: u64,
    slice_end_ns: u64,
    yielded: bool,
}

/// A CPU's ready threads, and what it knows of the one that runs.
pub struct RunQueue<T> {
    heap: BinaryHeap<Queued<T>>,
    running: Option<Running>,
    floor: u64,
    /// Numbers for [`Place::Back`] go up, for [`Place::Front`] down.
    back: i64,
    front: i64,
}

impl<T> RunQueue<T> {
    /// Nobody is ready, nobody runs.
    pub const fn new() -> Self {
        Self { heap: BinaryHeap::new(), running: None, floor: FIRST_FLOOR, back: 0, front: 0 }
    }

    /// Makes room for `total` ready threads, so that [`Self::push`] does not allocate up to there.
    ///
    /// # Errors
    /// No memory.
    pub fn try_reserve(&mut self, total: usize) -> Result<(), TryReserveError> {
        self.heap.try_reserve(total.saturating_sub(self.heap.len()))
    }

    /// Number of ready threads, without the running one.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nobody is ready.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Adds a ready thread; returns whether it should take the CPU from the running one. O(log n).
    pub fn push(&mut self, value: T, class: Class, lag: i64, place: Place, now_ns: u64) -> bool {
        self.charge(now_ns);
        let order = match place {
            Place::Back => {
                self.back += 1;
                self.back
            }
            Place::Front => {
                self.front -= 1;
                self.front
            }
        };
        let key = match class {
            Class::RealTime { priority, .. } => (priority.max(1), Reverse(0), Reverse(order)),
            Class::Fair { .. } => (0, Reverse(self.floor.saturating_add_signed(lag)), Reverse(order)),
        };
        let queued = Queued { key, class, value };
        let preempts = match (&self.running, class) {
            (None, _) => true,
            (Some(running), Class::RealTime { priority, .. }) => match running.class {
                Class::RealTime { priority: other, .. } => priority > other,
                Class::Fair { .. } => true,
            },
            (Some(running), Class::Fair { preempts, .. }) => {
                preempts
                    && matches!(running.class, Class::Fair { .. })
                    && queued.virtual_ns() + WAKE_GRANULARITY < running.virtual_ns
            }
        };
        self.heap.push(queued);
        preempts
    }

    /// Time that the running thread has had since the last call, in nanoseconds.
    pub fn take_used(&mut self, now_ns: u64) -> u64 {
        self.charge(now_ns);
        self.running.as_mut().map_or(0, |running| core::mem::take(&mut running.used_ns))
    }

    /// Charges the running thread with its time up to now.
    fn charge(&mut self, now_ns: u64) {
        let Some(running) = &mut self.running else { return };
        let elapsed = now_ns.saturating_sub(running.charged_ns);
        running.charged_ns += elapsed;
        running.used_ns += elapsed;
        if let Class::Fair { weight, .. } = running.class {
            // Nobody runs for 13 days in one go, and 128-bit division would be a library routine.
            let weighted = elapsed.min(1 << 50) * u64::from(NICE_0_WEIGHT) / u64::from(weight.max(1));
            running.virtual_ns = running.virtual_ns.saturating_add(weighted);
            let least = match self.heap.peek() {
                Some(first) if first.is_fair() => running.virtual_ns.min(first.virtual_ns()),
                // Fair ones stand behind real-time ones in the heap; the floor waits until they are at its top.
                Some(_) => self.floor,
                None => running.virtual_ns,
            };
            self.floor = self.floor.max(least);
        }
    }

    /// Whether the running thread should give way now: something better is ready, or its turn is over and its equal is
    /// ready. If not and its turn is over, a new one begins.
    pub fn should_switch(&mut self, now_ns: u64) -> bool {
        self.charge(now_ns);
        let Some(first) = self.heap.peek() else {
            if let Some(running) = &mut self.running {
                running.slice_end_ns = now_ns + SLICE_NS;
                running.yielded = false;
            }
            return false;
        };
        let Some(running) = &mut self.running else { return true };
        let turn_over = now_ns >= running.slice_end_ns;
        let switch = match (first.class, running.class) {
            (Class::RealTime { .. }, Class::Fair { .. }) => true,
            (Class::Fair { .. }, Class::RealTime { .. }) => false,
            (Class::RealTime { priority, .. }, Class::RealTime { priority: other, round_robin }) => {
                priority > other || priority == other && (running.yielded || round_robin && turn_over)
            }
            (Class::Fair { preempts, .. }, Class::Fair { .. }) => {
                let margin = if turn_over { 0 } else { WAKE_GRANULARITY };
                (turn_over || preempts) && first.virtual_ns() + margin <= running.virtual_ns
            }
        };
        if !switch && turn_over {
            running.slice_end_ns = now_ns + SLICE_NS;
        }
        running.yielded &= switch;
        switch
    }

    /// When the running thread's turn ends; `None`: nobody waits for it to.
    pub fn turn_ends(&self) -> Option<u64> {
        let (first, running) = (self.heap.peek()?, self.running.as_ref()?);
        let shares = match (running.class, first.class) {
            (Class::RealTime { priority, round_robin: true }, Class::RealTime { priority: other, .. }) => {
                priority == other
            }
            (Class::RealTime { .. }, _) => false,
            (Class::Fair { .. }, _) => true,
        };
        shares.then_some(running.slice_end_ns)
    }

    /// Whether a real-time thread runs and one of greater priority is ready.
    pub fn is_outranked(&self) -> bool {
        let class = |class| match class {
            Class::RealTime { priority, .. } => priority,
            Class::Fair { .. } => 0,
        };
        match (&self.running, self.heap.peek()) {
            (Some(running), Some(first)) => {
                class(running.class) > 0 && class(first.class) > class(running.class)
            }
            _ => false,
        }
    }

    /// The running thread lets the first of its equals go before it (sched_yield(2)); [`Self::should_switch`] says whether
    /// there is one.
    pub fn yield_turn(&mut self, now_ns: u64) {
        self.charge(now_ns);
        let first = self.heap.iter().filter(|queued| queued.is_fair()).map(Queued::virtual_ns).min();
        let Some(running) = &mut self.running else { return };
        running.yielded = true;
        running.slice_end_ns = now_ns;
        if let (Class::Fair { .. }, Some(first)) = (running.class, first) {
            running.virtual_ns = running.virtual_ns.max(first);
        }
    }

    /// The least virtual time of the ready threads, so far.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The lag of a thread that left this queue with `lag` when its floor was `floor`, and slept: the others went on meanwhile, and
    /// it stands before them, but not without bound.
    pub fn lag_after_sleep(&mut self, lag: i64, floor: u64, now_ns: u64) -> i64 {
        self.charge(now_ns);
        let advanced = i64::try_from(self.floor.saturating_sub(floor)).unwrap_or(i64::MAX);
        lag.saturating_sub(advanced).max(lag.min(-SLEEPER_BONUS))
    }

    /// The running thread leaves the CPU; returns its lag.
    pub fn stop(&mut self, now_ns: u64) -> i64 {
        self.charge(now_ns);
        match self.running.take() {
            Some(Running { class: Class::Fair { .. }, virtual_ns, .. }) => {
                virtual_ns.saturating_sub(self.floor).min(i64::MAX as u64) as i64
            }
            _ => 0,
        }
    }

    /// Takes the first ready thread, which runs from now on. The last one must have been stopped.
    pub fn start_next(&mut self, now_ns: u64) -> Option<T> {
        debug_assert!(self.running.is_none());
        let Queued { key, class, value } = self.heap.pop()?;
        if key.0 == 0 {
            self.floor = self.floor.max(key.1.0);
        }
        self.running = Some(Running {
            class,
            virtual_ns: key.1.0,
            charged_ns: now_ns,
            used_ns: 0,
            slice_end_ns: now_ns + SLICE_NS,
            yielded: false,
        });
        Some(value)
    }

    /// Gives the running thread another class.
    pub fn set_running_class(&mut self, class: Class, now_ns: u64) {
        self.charge(now_ns);
        let floor = self.floor;
        if let Some(running) = &mut self.running {
            if matches!((running.class, class), (Class::RealTime { .. }, Class::Fair { .. })) {
                running.virtual_ns = floor;
            }
            running.class = class;
        }
    }

    /// Takes out a ready thread, for another CPU or another class; returns it with its lag. O(n).
    pub fn remove(&mut self, mut is: impl FnMut(&T) -> bool) -> Option<(T, i64)> {
        let at = self.heap.iter().position(|queued| is(&queued.value))?;
        self.take(at)
    }

    /// Takes out the ready thread that would run last among those that may go elsewhere, with its lag. O(n).
    pub fn steal(&mut self, mut may_go: impl FnMut(&T) -> bool) -> Option<(T, i64)> {
        let candidates = self.heap.iter().enumerate().filter(|(_, queued)| may_go(&queued.value));
        let (at, _) = candidates.min_by_key(|(_, queued)| queued.key)?;
        self.take(at)
    }

    fn take(&mut self, at: usize) -> Option<(T, i64)> {
        // Both conversions keep the allocation.
        let mut all: Vec<_> = core::mem::take(&mut self.heap).into_vec();
        let Queued { key, class, value } = all.swap_remove(at);
        self.heap = all.into();
        let lag = match class {
            Class::Fair { .. } => key.1.0 as i64 - self.floor as i64,
            Class::RealTime { .. } => 0,
        };
        Some((value, lag))
    }
}

impl<T> Default for RunQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The weight of a nice level, -20 to 19: a step is a factor of 1.25 (Linux's `sched_prio_to_weight`).
pub fn weight_of_nice(nice: i8) -> u32 {
    const WEIGHTS: [u32; 40] = {
        let mut weights = [NICE_0_WEIGHT; 40];
        let mut i = 21;
        while i < 40 {
            weights[i] = (weights[i - 1] * 4 + 2) / 5;
            i += 1;
        }
        let mut i = 19;
        loop {
            weights[i] = (weights[i + 1] * 5 + 2) / 4;
            if i == 0 {
                break;
            }
            i -= 1;
        }
        weights
    };
    WEIGHTS[(nice.clamp(-20, 19) + 20) as usize]
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const FAIR: Class = Class::Fair { weight: NICE_0_WEIGHT, preempts: true };

    fn fifo(priority: u8) -> Class {
        Class::RealTime { priority, round_robin: false }
    }

    fn round_robin(priority: u8) -> Class {
        Class::RealTime { priority, round_robin: true }
    }

    /// Runs threads that never sleep for `ms` milliseconds; returns how many each got.
    fn share(threads: &[Class], ms: u64) -> Vec<u64> {
        let mut queue = RunQueue::new();
        for (i, &class) in threads.iter().enumerate() {
            queue.push(i, class, 0, Place::Back, 0);
        }
        let mut got = alloc::vec![0; threads.len()];
        let mut running = queue.start_next(0).unwrap();
        for now in 1..=ms {
            got[running] += 1;
            let now = now * MS;
            if queue.should_switch(now) {
                let lag = queue.stop(now);
                let next = queue.start_next(now).unwrap();
                queue.push(running, threads[running], lag, Place::Back, now);
                running = next;
            }
        }
        got
    }

    #[test]
    fn equals_share_equally() {
        for got in share(&[FAIR, FAIR, FAIR], 3_000) {
            assert!((990..=1_010).contains(&got), "{got}");
        }
    }

    #[test]
    fn weights_are_kept() {
        let heavy = Class::Fair { weight: weight_of_nice(-5), preempts: true };
        let got = share(&[heavy, FAIR], 10_000);
        let ratio = got[0] as f64 / got[1] as f64;
        assert!((2.9..3.3).contains(&ratio), "{ratio}");
        assert_eq!([-20, -5, 0, 5, 19].map(weight_of_nice).map(|w| w / 10), [8883, 312, 102, 33, 1]);
    }

    #[test]
    fn real_time_goes_first_by_priority_and_fifo_takes_no_turns() {
        assert_eq!(share(&[FAIR, fifo(10), fifo(20)], 100), [0, 0, 100]);
        assert_eq!(share(&[fifo(10), fifo(10)], 100), [100, 0]);
        let got = share(&[round_robin(10), round_robin(10), FAIR], 100);
        assert!(got[0] >= 48 && got[1] >= 48 && got[2] == 0, "{got:?}");
    }

    #[test]
    fn a_preempted_real_time_thread_stays_at_the_head() {
        let mut queue = RunQueue::new();
        queue.push("a", fifo(10), 0, Place::Back, 0);
        queue.start_next(0);
        queue.push("b", fifo(10), 0, Place::Back, 0);
        assert!(queue.push("c", fifo(11), 0, Place::Back, 0));
        let lag = queue.stop(0);
        assert_eq!(queue.start_next(0), Some("c"));
        queue.push("a", fifo(10), lag, Place::Front, 0);
        queue.stop(0);
        assert_eq!(queue.start_next(0), Some("a"));
        queue.stop(0);
        assert_eq!(queue.start_next(0), Some("b"));
    }

    #[test]
    fn a_sleeper_preempts_a_busy_thread_and_a_busy_one_does_not() {
        let mut queue = RunQueue::new();
        queue.push("busy", FAIR, 0, Place::Back, 0);
        queue.start_next(0);
        let floor = queue.floor();
        assert!(!queue.push("new", FAIR, 0, Place::Back, MS / 2));
        queue.steal(|_| true).unwrap();
        let lag = queue.lag_after_sleep(0, floor, 10 * MS);
        assert!(queue.push("sleeper", FAIR, lag, Place::Back, 10 * MS));
        let batch = Class::Fair { weight: NICE_0_WEIGHT, preempts: false };
        assert!(!queue.push("batch", batch, lag, Place::Back, 10 * MS));
    }

    #[test]
    fn sleep_is_credited_with_a_bound() {
        let mut queue = RunQueue::new();
        queue.push("busy", FAIR, 0, Place::Back, 0);
        queue.start_next(0);
        let floor = queue.floor();
        assert_eq!(queue.lag_after_sleep(0, floor, MS), -(MS as i64));
        assert_eq!(queue.lag_after_sleep(5 * MS as i64, floor, MS), 4 * MS as i64);
        assert_eq!(queue.lag_after_sleep(-3 * MS as i64, floor, MS), -3 * MS as i64);
        assert_eq!(queue.lag_after_sleep(0, floor, 100 * MS), -SLEEPER_BONUS);
        queue.stop(100 * MS);
        let floor = queue.floor();
        assert_eq!(queue.lag_after_sleep(0, floor, 200 * MS), 0, "nobody else went on");
    }

    /// Threads that sleep as soon as they have done a little, and are woken again soon, as a server's for each connection: one
    /// that is ready all the time gets its share, and none of them waits long.
    #[test]
    fn many_that_sleep_do_not_starve_one_that_does_not() {
        const SERVERS: usize = 64;
        const WORK: u64 = 300_000;
        const BUSY: usize = SERVERS;
        let mut queue = RunQueue::new();
        let mut now = 0;
        // Lag, floor, and since when it is ready.
        let mut left = [(0, queue.floor(), 0); SERVERS + 1];
        let mut got = [0_u64; SERVERS + 1];
        let mut longest = 0;
        let mut sleeping = alloc::collections::VecDeque::new();
        for thread in 0..=SERVERS {
            queue.push(thread, FAIR, 0, Place::Back, now);
        }
        for _ in 0..100_000 {
            let thread = queue.start_next(now).unwrap();
            longest = longest.max(now - left[thread].2);
            now += WORK;
            got[thread] += WORK;
            // Half of those that sleep are woken meanwhile.
            for _ in 0..sleeping.len().div_ceil(2) {
                let woken: usize = sleeping.pop_front().unwrap();
                let (lag, floor, _) = left[woken];
                let lag = queue.lag_after_sleep(lag, floor, now);
                queue.push(woken, FAIR, lag, Place::Back, now);
                left[woken].2 = now;
            }
            let lag = queue.stop(now);
            left[thread] = (lag, queue.floor(), now);
            match thread {
                BUSY => drop(queue.push(BUSY, FAIR, lag, Place::Back, now)),
                server => sleeping.push_back(server),
            }
        }
        let share = now / (SERVERS as u64 + 1);
        for (thread, got) in got.into_iter().enumerate() {
            assert!((share / 2..share * 2).contains(&got), "{thread} got {got} of {share}");
        }
        assert!(longest < 300 * MS, "one waited {longest} ns");
    }

    #[test]
    fn yielding_lets_the_next_one_run() {
        let mut queue = RunQueue::new();
        queue.push("a", FAIR, 0, Place::Back, 0);
        queue.start_next(0);
        queue.push("b", FAIR, 3 * MS as i64, Place::Back, 0);
        assert!(!queue.should_switch(0));
        queue.yield_turn(0);
        assert!(queue.should_switch(0));

        let mut queue = RunQueue::new();
        queue.push("a", fifo(5), 0, Place::Back, 0);
        queue.start_next(0);
        queue.yield_turn(0);
        assert!(!queue.should_switch(0));
        queue.push("b", fifo(5), 0, Place::Back, 0);
        assert!(!queue.should_switch(0), "a yield is for now");
        queue.yield_turn(0);
        assert!(queue.should_switch(0));
    }

    #[test]
    fn time_used_is_counted_once() {
        let mut queue = RunQueue::new();
        queue.push("a", FAIR, 0, Place::Back, 0);
        queue.start_next(5);
        queue.push("b", FAIR, 0, Place::Back, 10);
        assert_eq!(queue.take_used(15), 10);
        assert_eq!(queue.take_used(15), 0);
    }

    #[test]
    fn the_last_in_line_is_stolen() {
        let mut queue = RunQueue::new();
        queue.push("rt", fifo(1), 0, Place::Back, 0);
        queue.push("near", FAIR, 1, Place::Back, 0);
        queue.push("far", FAIR, 9, Place::Back, 0);
        assert_eq!(queue.steal(|_| true), Some(("far", 9)));
        assert_eq!(queue.steal(|name| *name == "rt"), Some(("rt", 0)));
        assert_eq!(queue.remove(|name| *name == "far"), None);
        assert_eq!(queue.len(), 1);
    }
}
