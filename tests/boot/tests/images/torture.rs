//! Everything at once, on several CPUs, for a short time. `cargo xtask bench soak-torture` is the long form.

use boot_tests::{Boot, Image};

#[test]
fn on_one_to_eight_cpus() {
    let image = Image::program("torture");
    for cpus in [1, 2, 8] {
        let ended = Boot::new(&image).memory_mib(256).cpus(cpus).args(&["2"]).expect(0);
        assert_eq!(ended.console, "torture: 64 threads, all is well\n", "{cpus} CPUs");
    }
}
