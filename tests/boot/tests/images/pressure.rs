//! Programs that ask for too much: refused, and the image goes on.

use boot_tests::boot::everywhere;
use boot_tests::{Boot, Image};

#[test]
fn what_cannot_be_had_is_refused() {
    let image = Image::program("pressure");
    for what in
        ["areas", "advice", "populate", "tables", "promises", "blocked_signal", "huge", "pipes", "pairs"]
    {
        let boot = Boot::new(&image).args(&[what]).memory_mib(24);
        everywhere(&boot, 0, |ended| assert_eq!(ended.console, format!("{what}: went on\n")));
    }
}
