//! The protocols of this crate in every order of accesses that the memory model allows (as far as loom knows it).
//!
//! `cargo xtask models`, or `RUSTFLAGS="--cfg loom" cargo test -p includeos-sync --test loom --release`. The models run the code
//! that the kernel runs; what the kernel does around it is told in as few lines as there are. A wake-up that is lost shows as
//! a model with too many branches: somebody spins for ever.

#![cfg(loom)]

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::thread;
use sync::park::{Found, Park, WaitNumber, Wake};
use sync::run_queue::{Class, NICE_0_WEIGHT, Place, RunQueue};
use sync::{FlushTickets, IdleSet, Notice, Once, PendingWork, Requeued, SpinLock, TimerQueue, WaitList};

const VECTOR: u8 = 3;

/// Runs a model in every order, with so many threads preempted at most; without a bound where it is affordable.
fn check(max_preemptions: impl Into<Option<usize>>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = max_preemptions.into();
    builder.check(model);
}

/// Runs `f` on another CPU.
fn on_other_cpu<T: 'static, S: 'static>(
    shared: &Arc<S>,
    f: impl FnOnce(&S) -> T + 'static,
) -> thread::JoinHandle<T> {
    let shared = shared.clone();
    thread::spawn(move || f(&shared))
}

/// An interrupt that was sent to a CPU, and that it has not taken: sending releases, taking acquires.
struct Interrupt(AtomicU64);

impl Interrupt {
    fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn send(&self) {
        self.0.store(1, Ordering::Release);
    }

    fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0 && self.0.swap(0, Ordering::Acquire) != 0
    }

    fn wait(&self) {
        wait_until(|| self.take());
    }
}

fn wait_until(mut is: impl FnMut() -> bool) {
    while !is() {
        thread::yield_now();
    }
}

/// A sequentially consistent load; see `src/atomic.rs`.
fn load(word: &AtomicU64) -> u64 {
    fence(Ordering::SeqCst);
    word.load(Ordering::SeqCst)
}

#[test]
fn a_lock_has_one_holder_and_a_failed_try_leaves_it_closed() {
    check(None, || {
        let lock = Arc::new(SpinLock::new(0));
        let tries = on_other_cpu(&lock, |lock| {
            let guard = lock.try_lock();
            *guard.unwrap_or_else(|| lock.lock()) += 1;
        });
        *lock.lock() += 1;
        tries.join().unwrap();
        assert_eq!(*lock.lock(), 2);
    });
}

#[test]
fn a_once_is_set_once_and_seen_whole() {
    check(None, || {
        let once = Arc::new(Once::new());
        let sets = on_other_cpu(&once, |once| once.set([1, 1]).is_ok());
        let gets = on_other_cpu(&once, |once| once.get().copied());
        let set = once.set([2, 2]).is_ok();
        assert_eq!(usize::from(set) + usize::from(sets.join().unwrap()), 1);
        let seen = gets.join().unwrap();
        assert!(seen.is_none() || seen == once.get().copied());
    });
}

/// A thread whose registers the CPU that leaves it saves, and the run queue that it is put into.
struct Waiting {
    park: Park,
    number: SpinLock<Option<WaitNumber>>,
    registers: UnsafeCell<u32>,
    queued: AtomicU64,
}

impl Waiting {
    fn new() -> Self {
        Self {
            park: Park::new(),
            number: SpinLock::new(None),
            registers: UnsafeCell::new(0),
            queued: AtomicU64::new(0),
        }
    }

    fn enqueue(&self) {
        // Any CPU may switch to it from now on.
        self.registers.with_mut(drop);
        self.queued.fetch_add(1, Ordering::Release);
    }

    /// As `sched::wait` does it: whether that ended a wait.
    fn end_wait(&self, number: Option<WaitNumber>, reason: Wake) -> bool {
        let found = self.park.wake(number, reason);
        if found == Found::Parked {
            self.enqueue();
        }
        found != Found::NotWaiting
    }

    /// As `sched::cpu` switches away from it. True: it did not come to that.
    fn give_up_cpu(&self) -> bool {
        if !self.park.is_announced() {
            return true;
        }
        self.registers.with_mut(drop);
        if !self.park.commit() {
            self.enqueue();
        }
        false
    }
}

#[test]
fn a_thread_is_queued_once_with_its_registers_saved() {
    check(None, || {
        let waiting = Arc::new(Waiting::new());
        let wakes = on_other_cpu(&waiting, |waiting| {
            let number = *waiting.number.lock();
            number.is_some_and(|number| waiting.end_wait(Some(number), Wake::Woken))
        });
        let notifies = on_other_cpu(&waiting, |waiting| waiting.end_wait(None, Wake::Notified));
        *waiting.number.lock() = Some(waiting.park.announce());
        let went_on = waiting.give_up_cpu();
        let ended = [wakes, notifies].map(|waker| waker.join().unwrap());
        let ended = ended.into_iter().filter(|&ended| ended).count();
        let runs = usize::from(went_on) + waiting.queued.load(Ordering::Acquire) as usize;
        assert!(ended <= 1 && runs == ended, "{ended} wake-ups ended the wait, and it runs {runs} times");
    });
}

#[test]
fn a_late_wake_up_ends_no_later_wait() {
    check(None, || {
        let park = Arc::new(Park::new());
        let first = park.announce();
        let wakes = on_other_cpu(&park, move |park| park.wake(Some(first), Wake::Woken));
        let cancelled = park.cancel();
        let second = park.announce();
        let found = wakes.join().unwrap();
        assert!(park.is_waiting(second));
        assert_eq!(found == Found::NotWaiting, cancelled);
    });
}

#[test]
fn a_notice_is_seen_before_a_wait_or_ends_it() {
    check(None, || {
        let shared = Arc::new((Waiting::new(), Notice::new()));
        let notifies = on_other_cpu(&shared, |(waiting, notice)| {
            notice.leave();
            waiting.end_wait(None, Wake::Notified);
        });
        let (waiting, notice) = &*shared;
        let number = waiting.park.announce();
        if !(notice.is_left() && waiting.park.cancel()) {
            waiting.give_up_cpu();
        }
        notifies.join().unwrap();
        assert!(!waiting.park.is_waiting(number), "it sleeps, and nobody will wake it");
    });
}

#[test]
fn a_notice_is_seen_before_the_program_goes_on_or_interrupts_it() {
    struct Cpu {
        notice: Notice,
        park: Park,
        what_came_up: AtomicU64,
        current: AtomicU64,
        interrupt: Interrupt,
    }
    check(None, || {
        let cpu = Arc::new(Cpu {
            notice: Notice::new(),
            park: Park::new(),
            what_came_up: AtomicU64::new(0),
            current: AtomicU64::new(0),
            interrupt: Interrupt::new(),
        });
        let notifies = on_other_cpu(&cpu, |cpu| {
            cpu.what_came_up.store(1, Ordering::Relaxed);
            cpu.notice.leave();
            if cpu.park.wake(None, Wake::Notified) == Found::NotWaiting && load(&cpu.current) == 1 {
                cpu.interrupt.send();
            }
        });
        cpu.current.store(1, Ordering::SeqCst);
        while !cpu.notice.take() {
            // The program runs.
            cpu.interrupt.wait();
        }
        assert_eq!(cpu.what_came_up.load(Ordering::Relaxed), 1);
        notifies.join().unwrap();
    });
}

#[test]
fn a_halted_cpu_is_woken_for_work() {
    struct Cpu {
        idle: IdleSet,
        ready: AtomicU64,
        interrupt: Interrupt,
    }
    // Relaxed: all order comes from the set.
    check(3, || {
        let cpu =
            Arc::new(Cpu { idle: IdleSet::new(), ready: AtomicU64::new(0), interrupt: Interrupt::new() });
        let wakers = [(); 2].map(|()| {
            on_other_cpu(&cpu, |cpu| {
                cpu.ready.fetch_add(1, Ordering::Relaxed);
                if cpu.idle.claim(1) {
                    cpu.interrupt.send();
                }
            })
        });
        let mut done = 0;
        while done < 2 {
            let has_work = || cpu.ready.load(Ordering::Relaxed) != 0;
            cpu.idle.halt_unless(1, has_work, || cpu.interrupt.wait());
            done += cpu.ready.swap(0, Ordering::Relaxed);
        }
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        assert_eq!(cpu.idle.mask(), 0);
    });
}

#[test]
fn a_cpu_that_is_asked_looks_before_its_program_goes_on_or_is_interrupted() {
    struct Cpu {
        pending: PendingWork,
        // The queue's lock; `SpinLock` has a model of its own.
        queue: Mutex<usize>,
        interrupt: Interrupt,
    }
    check(3, || {
        let cpu =
            Arc::new(Cpu { pending: PendingWork::new(), queue: Mutex::new(0), interrupt: Interrupt::new() });
        let askers = [(); 2].map(|()| {
            on_other_cpu(&cpu, |cpu| {
                *cpu.queue.lock().unwrap() += 1;
                if cpu.pending.request_resched() {
                    cpu.interrupt.send();
                }
            })
        });
        let mut done = 0;
        loop {
            // As `leave_section` does it; interrupts are masked during `take`.
            while let Some(vectors) = cpu.pending.take() {
                if cpu.interrupt.take() {
                    cpu.pending.record(VECTOR);
                }
                if vectors.contains(VECTOR) || cpu.pending.needs_resched() {
                    cpu.pending.begin_resched();
                    done += std::mem::take(&mut *cpu.queue.lock().unwrap());
                }
            }
            if done == 2 {
                break;
            }
            // The program runs.
            cpu.interrupt.wait();
            cpu.pending.record(VECTOR);
        }
        askers.into_iter().for_each(|asker| asker.join().unwrap());
    });
}

/// A CPU that goes through the idle set once, and another one that takes a page away from it.
#[test]
fn a_frame_is_free_when_no_cpu_remembers_it() {
    struct Cpu {
        idle: IdleSet,
        tickets: FlushTickets,
        interrupt: Interrupt,
        page_table: AtomicU64,
        frame: UnsafeCell<u64>,
        freed: AtomicU64,
    }
    check(3, || {
        let cpu = Arc::new(Cpu {
            idle: IdleSet::new(),
            tickets: FlushTickets::new(),
            interrupt: Interrupt::new(),
            page_table: AtomicU64::new(1),
            frame: UnsafeCell::new(0),
            freed: AtomicU64::new(0),
        });
        let unmaps = on_other_cpu(&cpu, |cpu| {
            // The first is for another page, and may still be under way when the second is asked for.
            for entry in [1, 0] {
                cpu.page_table.store(entry, Ordering::Relaxed);
                cpu.tickets.request();
                if cpu.idle.mask() & 1 == 0 {
                    cpu.interrupt.send();
                    wait_until(|| !cpu.tickets.is_behind());
                }
            }
            cpu.frame.with_mut(drop);
            cpu.freed.store(1, Ordering::Relaxed);
        });
        let mut remembered = cpu.page_table.load(Ordering::Relaxed);
        let use_page = |remembered| {
            if remembered == 1 {
                cpu.frame.with(drop);
            }
        };
        use_page(remembered);
        // Another interrupt ends the halt.
        cpu.idle.halt_unless(1, || false, || ());
        cpu.tickets.catch_up(|| remembered = cpu.page_table.load(Ordering::Relaxed));
        use_page(remembered);
        while cpu.freed.load(Ordering::Relaxed) == 0 {
            if cpu.interrupt.take() {
                cpu.tickets.catch_up(|| remembered = cpu.page_table.load(Ordering::Relaxed));
            }
            use_page(remembered);
            thread::yield_now();
        }
        unmaps.join().unwrap();
    });
}

#[test]
fn a_deadline_ends_the_wait_it_was_set_for_and_no_later_one() {
    struct Shared {
        waiting: Waiting,
        timers: SpinLock<TimerQueue<WaitNumber>>,
    }
    check(3, || {
        let shared = Arc::new(Shared { waiting: Waiting::new(), timers: SpinLock::new(TimerQueue::new()) });
        let number = shared.waiting.park.announce();
        let wakes = on_other_cpu(&shared, move |shared| shared.waiting.end_wait(Some(number), Wake::Woken));
        let key = shared.timers.lock().insert(1, number);
        let expires = on_other_cpu(&shared, |shared| {
            let expired = shared.timers.lock().pop_expired(1);
            if let Some((_, number)) = expired {
                shared.waiting.end_wait(Some(number), Wake::Deadline);
            }
        });
        if !shared.waiting.give_up_cpu() {
            wait_until(|| shared.waiting.queued.load(Ordering::Acquire) != 0);
        }
        if shared.waiting.park.reason() != Wake::Deadline {
            shared.timers.lock().remove(key);
        }
        assert!(shared.timers.lock().is_empty());
        let second = shared.waiting.park.announce();
        wakes.join().unwrap();
        expires.join().unwrap();
        assert!(shared.waiting.park.is_waiting(second));
    });
}

/// Two CPUs' run queues, and a thread whose parameters change. What is queued is the parameter as it was read.
struct Queues {
    queues: [SpinLock<RunQueue<u64>>; 2],
    cpu: AtomicU64,
    parameter: AtomicU64,
}

impl Queues {
    fn new() -> Self {
        let new = || SpinLock::new(RunQueue::new());
        Self { queues: [new(), new()], cpu: AtomicU64::new(0), parameter: AtomicU64::new(0) }
    }

    /// As `sched::cpu::enqueue_on` does it.
    fn enqueue(&self, cpu: usize) {
        let mut queue = self.queues[cpu].lock();
        self.cpu.store(cpu as u64, Ordering::SeqCst);
        let class = Class::Fair { weight: NICE_0_WEIGHT, preempts: true };
        queue.push(load(&self.parameter), class, 0, Place::Back, 0);
    }
}

#[test]
fn a_thread_is_run_or_stolen_once() {
    check(None, || {
        let queues = Arc::new(Queues::new());
        queues.enqueue(0);
        queues.enqueue(0);
        let steals = on_other_cpu(&queues, |queues| {
            let stolen = queues.queues[0].lock().steal(|_| true);
            if stolen.is_some() {
                queues.enqueue(1);
            }
            queues.queues[1].lock().start_next(0).is_some()
        });
        let mut ran = 0;
        for _ in 0..2 {
            let mut queue = queues.queues[0].lock();
            queue.stop(0);
            ran += usize::from(queue.start_next(0).is_some());
        }
        assert_eq!(ran + usize::from(steals.join().unwrap()), 2);
    });
}

#[test]
fn changed_parameters_reach_a_thread_wherever_it_goes() {
    check(3, || {
        let queues = Arc::new(Queues::new());
        queues.enqueue(0);
        let steals = on_other_cpu(&queues, |queues| {
            let stolen = queues.queues[0].lock().steal(|_| true);
            if stolen.is_some() {
                queues.enqueue(1);
            }
        });
        // As `sched::policy::apply` does it.
        queues.parameter.store(1, Ordering::SeqCst);
        loop {
            let cpu = load(&queues.cpu);
            let mut queue = queues.queues[cpu as usize].lock();
            if load(&queues.cpu) != cpu {
                continue;
            }
            let removed = queue.remove(|_| true);
            drop(queue);
            if removed.is_some() {
                queues.enqueue(0);
            }
            break;
        }
        steals.join().unwrap();
        let mut read = queues.queues.iter().filter_map(|queue| queue.lock().start_next(0));
        assert_eq!((read.next(), read.next()), (Some(1), None));
    });
}

type List = WaitList<u32, (Arc<Park>, WaitNumber)>;

fn end_wait((park, number): &(Arc<Park>, WaitNumber)) {
    // No model here lets the thread be parked.
    assert_ne!(park.wake(Some(*number), Wake::Woken), Found::Parked);
}

fn still_waits((park, number): &(Arc<Park>, WaitNumber)) -> bool {
    park.is_waiting(*number)
}

/// Enters the list at key 0, as a futex does under the list's lock, if `look` finds 0.
fn enter(list: &List, park: &Arc<Park>, look: impl FnOnce() -> u64) -> Option<WaitNumber> {
    let mut waiters = list.lock();
    waiters.reserve().unwrap();
    if look() != 0 {
        return None;
    }
    let number = park.announce();
    waiters.enter(0, (park.clone(), number));
    Some(number)
}

/// Two lists, with a thread that waits at key 0 of the first.
fn lists_with_a_waiter() -> (Arc<[List; 2]>, Arc<Park>, WaitNumber) {
    let (lists, park) = (Arc::new([List::new(), List::new()]), Arc::new(Park::new()));
    let number = enter(&lists[0], &park, || 0);
    (lists, park, number.unwrap())
}

fn requeue(lists: &[List; 2], from: usize, to: usize, waits: impl Fn(&(Arc<Park>, WaitNumber)) -> bool) {
    let max = Requeued { woken: 0, moved: 1 };
    let moved = lists[from]
        .with_both(&lists[to], |waiters, other| {
            waiters.requeue(from as u32, other, to as u32, max, end_wait, waits)
        })
        .unwrap();
    assert_eq!(moved.woken, 0);
}

fn wake(lists: &[List; 2], at: usize) -> usize {
    lists[at].lock().wake(at as u32, 1, |_| true, end_wait)
}

/// A waiter for a word that another thread changes; `look_first`: it looks before it closes the lock, against rule 1.
fn wait_for_a_change(look_first: bool) {
    let shared = Arc::new((List::new(), AtomicU64::new(0)));
    let changes = on_other_cpu(&shared, |(list, word)| {
        word.store(1, Ordering::Relaxed);
        list.lock().wake(0, 1, |_| true, end_wait)
    });
    let (list, word) = &*shared;
    let park = Arc::new(Park::new());
    let look = || word.load(Ordering::Relaxed);
    let entered = if look_first {
        let seen = look();
        enter(list, &park, || seen)
    } else {
        enter(list, &park, look)
    };
    let woken = changes.join().unwrap();
    assert!(!entered.is_some_and(|number| park.is_waiting(number)), "it sleeps on a word that has changed");
    assert_eq!(entered.is_some(), woken == 1);
}

#[test]
fn a_waiter_sees_the_change_or_is_woken() {
    check(None, || wait_for_a_change(false));
}

#[test]
#[should_panic(expected = "it sleeps on a word that has changed")]
fn without_rule_1_a_wake_up_is_lost() {
    check(None, || wait_for_a_change(true));
}

/// A waiter that is moved to the other list while somebody wakes in both; `one_by_one`: never under both locks, against rule 2.
fn wake_while_it_moves(one_by_one: bool) {
    let (lists, park, number) = lists_with_a_waiter();
    let moves = on_other_cpu(&lists, move |lists| {
        if !one_by_one {
            return requeue(lists, 0, 1, still_waits);
        }
        let mut taken = None;
        lists[0].lock().wake(0, 1, |_| true, |waiter| taken = Some(waiter.clone()));
        if let Some(waiter) = taken {
            lists[1].lock().enter(1, waiter);
        }
    });
    let woken = wake(&lists, 0) + wake(&lists, 1);
    moves.join().unwrap();
    assert_eq!(woken, 1, "it was nowhere");
    assert!(!park.is_waiting(number));
}

#[test]
fn a_waiter_that_is_moved_is_always_somewhere() {
    check(None, || wake_while_it_moves(false));
}

#[test]
#[should_panic(expected = "it was nowhere")]
fn without_rule_2_it_is_nowhere_for_a_while() {
    check(None, || wake_while_it_moves(true));
}

/// A waiter whose deadline comes while it is moved; `is_moved_anyway`: against rule 3.
fn leave_while_it_moves(is_moved_anyway: bool) {
    let (lists, park, number) = lists_with_a_waiter();
    let moves = on_other_cpu(&lists, move |lists| {
        requeue(lists, 0, 1, |waiter| is_moved_anyway || still_waits(waiter));
    });
    assert_eq!(park.wake(Some(number), Wake::Deadline), Found::OnCpu);
    let is_own = |(other, _): &(Arc<Park>, WaitNumber)| Arc::ptr_eq(other, &park);
    // The later list first: a waiter on its way there would be missed.
    let left = lists.iter().rev().any(|list| list.lock().leave(is_own));
    moves.join().unwrap();
    assert!(left && !lists.iter().any(|list| list.lock().leave(|_| true)), "it was left behind");
}

#[test]
fn a_waiter_whose_deadline_came_leaves_wherever_it_is() {
    check(None, || leave_while_it_moves(false));
}

#[test]
#[should_panic(expected = "it was left behind")]
fn without_rule_3_a_waiter_is_left_behind() {
    check(None, || leave_while_it_moves(true));
}

/// As futexes count: either the waker has woken it, or the waiter says that its time was up.
#[test]
fn a_wake_up_is_counted_or_the_deadline_is() {
    check(None, || {
        let (lists, park, number) = lists_with_a_waiter();
        let wakes = on_other_cpu(&lists, |lists| wake(lists, 0));
        let expires = on_other_cpu(&park, move |park| {
            assert_ne!(park.wake(Some(number), Wake::Deadline), Found::Parked);
        });
        wait_until(|| !park.is_waiting(number));
        let is_own = |(other, _): &(Arc<Park>, WaitNumber)| Arc::ptr_eq(other, &park);
        let timed_out = park.reason() != Wake::Woken && lists[0].lock().leave(is_own);
        expires.join().unwrap();
        assert_eq!(wakes.join().unwrap(), usize::from(!timed_out));
    });
}

#[test]
fn moves_in_both_directions_do_not_deadlock() {
    check(None, || {
        let (lists, ..) = lists_with_a_waiter();
        let moves = on_other_cpu(&lists, |lists| requeue(lists, 0, 1, still_waits));
        requeue(&lists, 1, 0, still_waits);
        moves.join().unwrap();
        assert!(lists.iter().filter(|list| list.lock().leave(|_| true)).count() == 1);
    });
}
