//! Everything at once, on several CPUs, for a short time. `cargo xtask bench soak-torture` is the long form.

use boot_tests::{Boot, Image};

#[test]
fn on_one_to_eight_cpus() {
    let image = Image::program("torture");
    for (cpus, isolation) in [(1, false), (2, false), (8, false), (1, true), (4, true)] {
        let boot = Boot::new(&image).memory_mib(256).cpus(cpus).isolation(isolation);
        let ended = boot.args(&["2"]).expect(0);
        assert_eq!(ended.console, "torture: 64 threads, all is well\n", "{cpus} CPUs isolation={isolation}");
    }
}
