//! Policies and priorities that are none, of threads that are not there.

use programs::number::*;

use super::{MAX, NOBODY, show, show_outcome};

pub fn wrong() {
    policies();
    attributes();
    nice_levels();
    let mask = [0u64; 16];
    let mask = mask.as_ptr() as u64;
    show("sched_setaffinity, no CPU", SCHED_SETAFFINITY, &[0, 8, mask]);
    show("sched_setaffinity, size 0", SCHED_SETAFFINITY, &[0, 0, mask]);
    show("sched_setaffinity of nobody", SCHED_SETAFFINITY, &[NOBODY, 8, mask]);
    show("sched_setaffinity, negative", SCHED_SETAFFINITY, &[MAX, 8, mask]);
    show("sched_getaffinity of nobody", SCHED_GETAFFINITY, &[NOBODY, 128, mask]);
    show("sched_getaffinity of nobody, size 4", SCHED_GETAFFINITY, &[NOBODY, 4, mask]);
    show("sched_getaffinity, negative", SCHED_GETAFFINITY, &[MAX, 128, mask]);
    show("sched_yield", SCHED_YIELD, &[]);
    show("membarrier, flags", MEMBARRIER, &[0, 1]);
    show("membarrier, no such command", MEMBARRIER, &[1 << 30, 0]);
    show("membarrier, two commands", MEMBARRIER, &[0x18, 0]);
    show("membarrier, expedited without notice", MEMBARRIER, &[8, 0]);
    show("membarrier, notice", MEMBARRIER, &[16, 0]);
    show("membarrier, expedited", MEMBARRIER, &[8, 0]);
}

fn policies() {
    for policy in [0, 1, 2, 3, 4, 5, 6, 8, 99, MAX] {
        show(&format!("sched_get_priority_max {policy}"), SCHED_GET_PRIORITY_MAX, &[policy]);
        show(&format!("sched_get_priority_min {policy}"), SCHED_GET_PRIORITY_MIN, &[policy]);
    }
    let [zero, one, huge] = [[0u32, 0], [1, 0], [100, 0]];
    let [zero, one, huge] = [&zero, &one, &huge].map(|word| word.as_ptr() as u64);
    let mut word = [0u64; 2];
    let at = word.as_mut_ptr() as u64;
    for (name, pid) in [("nobody", NOBODY), ("a negative number", MAX)] {
        show(&format!("sched_getscheduler of {name}"), SCHED_GETSCHEDULER, &[pid]);
        show(&format!("sched_getparam of {name}"), SCHED_GETPARAM, &[pid, at]);
        show(&format!("sched_setparam of {name}"), SCHED_SETPARAM, &[pid, zero]);
        show(&format!("sched_setscheduler of {name}"), SCHED_SETSCHEDULER, &[pid, 0, zero]);
        show(&format!("sched_rr_get_interval of {name}"), SCHED_RR_GET_INTERVAL, &[pid, at]);
    }
    let set = |name: &str, policy: u64, parameter: u64| {
        show(&format!("sched_setscheduler, {name}"), SCHED_SETSCHEDULER, &[0, policy, parameter]);
    };
    set("negative policy", MAX, zero);
    set("policy 4", 4, zero);
    set("policy 99", 99, zero);
    set("fair with a priority", 0, one);
    set("batch with a priority", 3, one);
    set("first in, first out without a priority", 1, zero);
    set("first in, first out with too high a priority", 1, huge);
    set("round robin without a priority", 2, zero);
    set("a deadline without times", 6, zero);
    show("sched_setparam, a priority", SCHED_SETPARAM, &[0, one]);
    show("sched_setparam, none", SCHED_SETPARAM, &[0, zero]);
    set("batch", 3, zero);
    show("sched_getscheduler", SCHED_GETSCHEDULER, &[0]);
    set("fair", 0, zero);
    show("sched_getscheduler again", SCHED_GETSCHEDULER, &[0]);
}

fn attributes() {
    let mut attributes = [0u32; 32];
    let at = attributes.as_mut_ptr() as u64;
    let set = |index: usize, value: u32| {
        // SAFETY: in the array; the calls change it behind the compiler's back.
        unsafe { (at as *mut u32).add(index).write_volatile(value) };
    };
    for size in [0, 47, 4097, MAX] {
        show(&format!("sched_getattr, size {size}"), SCHED_GETATTR, &[0, at, size, 0]);
    }
    show("sched_getattr, flags", SCHED_GETATTR, &[0, at, 48, 1]);
    show("sched_getattr of nobody", SCHED_GETATTR, &[NOBODY, at, 48, 0]);
    show("sched_getattr, negative", SCHED_GETATTR, &[MAX, at, 48, 0]);
    show("sched_getattr", SCHED_GETATTR, &[0, at, 48, 0]);
    let set_attributes = |name: &str, size: u32, policy: u32, flags: u32, priority: u32| {
        (0..32).for_each(|index| set(index, 0));
        set(0, size);
        set(1, policy);
        set(2, flags);
        set(5, priority);
        show(&format!("sched_setattr, {name}"), SCHED_SETATTR, &[0, at, 0]);
    };
    set_attributes("size 4", 4, 0, 0, 0);
    // SAFETY: our own word.
    println!("the size that is known: {}", unsafe { (at as *const u32).read_volatile() } >= 48);
    set_attributes("size of two pages", 8192, 0, 0, 0);
    set_attributes("no size", 0, 0, 0, 0);
    set_attributes("fair with a priority", 48, 0, 0, 1);
    set_attributes("no such policy", 48, 99, 0, 0);
    set_attributes("negative policy", 48, u32::MAX, 0, 0);
    set_attributes("unknown flags", 48, 0, 1 << 30, 0);
    set_attributes("batch", 48, 3, 0, 0);
    set_attributes("keep everything", 48, 0, 0x18, 0);
    show("sched_getscheduler, kept", SCHED_GETSCHEDULER, &[0]);
    set_attributes("fair", 48, 0, 0, 0);
    show("sched_setattr, flags", SCHED_SETATTR, &[0, at, 1]);
    show("sched_setattr of nobody", SCHED_SETATTR, &[NOBODY, at, 0]);
}

fn nice_levels() {
    for which in [3, 99, MAX] {
        show(&format!("getpriority of {which}"), GETPRIORITY, &[which, 0]);
        show(&format!("setpriority of {which}"), SETPRIORITY, &[which, 0, 0]);
    }
    for which in [0, 1, 2] {
        show(&format!("getpriority of nobody as {which}"), GETPRIORITY, &[which, NOBODY]);
        show(&format!("setpriority of nobody as {which}"), SETPRIORITY, &[which, NOBODY, 0]);
    }
    show("getpriority", GETPRIORITY, &[0, 0]);
    for nice in [1, 5, 99] {
        show(&format!("setpriority {nice}"), SETPRIORITY, &[0, 0, nice]);
        show("getpriority after it", GETPRIORITY, &[0, 0]);
    }
    show_outcome("getpriority of the group", GETPRIORITY, &[1, 0]);
}
